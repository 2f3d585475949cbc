"""What a run may be called and hold: refused at the call, so that a store never refuses it hours later.

The rules are those of MLflow's stores (`mlflow.utils.validation`), without importing it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from ratchet.errors import InputError

MAX_KEY_LENGTH = 250
_KEY = re.compile(r"[/\w.\- :]+")
_MAX_STEP = 2**63 - 1


def check_key(kind: str, key: str) -> None:
    """Refuse a name of a metric, parameter or tag that a store cannot hold.

    Raises:
        InputError: it has other characters, is longer than 250 or would resolve to another path.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key) or len(key) > MAX_KEY_LENGTH:
        raise InputError(
            f"{kind} {key!r}: use letters, digits, spaces and _ - . : /, at most {MAX_KEY_LENGTH} characters"
        )
    path = posixpath.normpath(key)
    if path != key or path == "." or path.startswith(("..", "/")):
        raise InputError(f"{kind} {key!r}: it would be kept as {path!r}; use that name, or one without . and / there")


def check_text(what: str, text: str) -> str:
    """Return a text that a store can hold; MLflow shortens one that is too long.

    Raises:
        InputError: it is not valid Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what}: not valid Unicode at character {error.start}") from error
    return text


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags that a store can hold.

    Raises:
        InputError: a key or value cannot be stored.
    """
    for key, value in tags.items():
        check_key("tag", key)
        check_text(f"tag {key!r}", value)
    return dict(tags)


def check_names(experiment: str, run_name: str) -> None:
    """Refuse names of an experiment and a run that a store cannot hold.

    Raises:
        InputError: one is empty, too long or not valid Unicode.
    """
    for what, name in (("experiment", experiment), ("run", run_name)):
        if not 0 < len(check_text(f"the name of the {what}", name)) <= MAX_KEY_LENGTH:
            raise InputError(f"the name of the {what} has {len(name)} characters; 1 to {MAX_KEY_LENGTH} fit")


def check_number(key: str, value: float) -> float:
    """Return a metric's value, NaN and infinity included.

    Raises:
        InputError: the key cannot be stored, or the value is no number.
    """
    check_key("metric", key)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"metric {key!r}: {value!r} is no number that a float holds") from error


def check_step(step: int) -> int:
    """Return a step that fits into 64 bits.

    Raises:
        InputError: it does not.
    """
    if not -_MAX_STEP <= step <= _MAX_STEP:
        raise InputError(f"step {step} does not fit into 64 bits")
    return int(step)
