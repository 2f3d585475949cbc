"""Markdown from records: tables, figures with their intervals, and foreign text that stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ratchet.evaluation.metrics import Metric

_SPECIAL = re.compile(r"[\\`*\[\]|]|<(?=[\w/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
_OPENING = re.compile(r"^(?:[#>+\-=~]|\d+(?=[.)]))")


def plain(text: str) -> str:
    r"""Return foreign text in one line in which nothing is Markdown or HTML any more.

    >>> plain("a|b <script>")
    'a\\|b \\<script>'
    """
    line = _SPECIAL.sub(lambda match: "\\" + match[0], " ".join(text.split()))
    return _OPENING.sub(lambda match: match[0] + "\\" if match[0].isdigit() else "\\" + match[0], line)


def code(text: str) -> str:
    """Return foreign text in one line as code; a backtick in it becomes an apostrophe.

    >>> code("v1.0.0")
    '`v1.0.0`'
    """
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table with an empty one behind; the cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]


def share(metric: Metric) -> str:
    """Return a share with its interval.

    >>> share(Metric(value=0.531, low=0.52, high=0.542))
    '53.1% (52.0% to 54.2%)'
    """
    return f"{metric.value:.1%} ({metric.low:.1%} to {metric.high:.1%})"


def number(metric: Metric, digits: int = 2) -> str:
    """Return a figure with its interval.

    >>> number(Metric(value=1.5, low=-0.25, high=3.25))
    '1.50 (-0.25 to 3.25)'
    """
    return f"{metric.value:.{digits}f} ({metric.low:.{digits}f} to {metric.high:.{digits}f})"


def points(metric: Metric) -> str:
    """Return a difference of shares in percentage points with its interval.

    >>> points(Metric(value=0.021, low=-0.001, high=0.043))
    '+2.1 (-0.1 to +4.3)'
    """
    return f"{100 * metric.value:+.1f} ({100 * metric.low:+.1f} to {100 * metric.high:+.1f})"


def title_of(name: str) -> str:
    """Return a name of a record as words.

    >>> title_of("last_sign")
    'last sign'
    """
    return plain(name.replace("_", " "))
