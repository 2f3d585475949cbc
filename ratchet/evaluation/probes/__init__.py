"""Leak probes: searches for knowledge of the future, run on every retraining. Import from the modules."""
