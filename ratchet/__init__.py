"""Ratchet keeps trading models current, and never lets a worse one through."""

__version__ = "0.1.0"
