"""Where the command line writes: tables for people, JSON for machines, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

_WIDTH_OF_A_PIPE = 120


def stdout_console() -> Console:
    """Return a console on stdout; a pipe or file gets lines of a fixed width."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE, highlight=False)


def print_json(value: Any) -> None:
    """Write a JSON value to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")
