"""Names of models, versions and files: paths are built from checked parts, never taken."""

from __future__ import annotations

import re

from ratchet.errors import InputError

FIRST_VERSION = "v1.0.0"
MANIFEST_FILE = "MANIFEST.json"
METADATA_FILE = "metadata.json"
METRICS_FILE = "metrics.json"
MODEL_FILE = "model.onnx"
RESERVED_FILES = frozenset({MANIFEST_FILE, METADATA_FILE, METRICS_FILE})

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"v(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")


def is_name(text: str) -> bool:
    """Tell whether a text can name a model."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def check_name(name: str) -> str:
    """Return the name of a model if it is well formed.

    >>> check_name("btc-1h")
    'btc-1h'

    Raises:
        InputError: it is not.
    """
    if not is_name(name):
        raise InputError(
            f"model name {name!r}: use lower-case letters, digits, '.', '_' or '-', "
            "start with a letter or digit, at most 64 characters"
        )
    return name


def check_file_name(filename: str) -> str:
    """Return the name of a version's file if it is well formed.

    Raises:
        InputError: it is not, a path for example.
    """
    if not _FILE.fullmatch(filename) or ".." in filename:
        raise InputError(f"file name {filename!r}: a plain name of letters, digits, '.', '_' or '-' is needed")
    return filename


def is_version(text: str) -> bool:
    """Tell whether a text is a version number such as v1.2.3."""
    return _VERSION.fullmatch(text) is not None


def parse_version(version: str) -> tuple[int, int, int]:
    """Return the three numbers of a version.

    >>> parse_version("v1.10.0")
    (1, 10, 0)

    Raises:
        InputError: it is not of the form vX.Y.Z.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise InputError(f"version {version!r}: expected vX.Y.Z, for example {FIRST_VERSION}")
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


def next_version(latest: str | None) -> str:
    """Return the number that follows; registration raises the minor number.

    >>> next_version(None), next_version("v1.9.0")
    ('v1.0.0', 'v1.10.0')
    """
    if latest is None:
        return FIRST_VERSION
    major, minor, _ = parse_version(latest)
    return f"v{major}.{minor + 1}.0"
