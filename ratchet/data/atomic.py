"""Files that are either the old or the new version after a crash, never something in between."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; missing parent folders are made.

    The data reach the disk under a temporary name in the same folder, are renamed, and the folder is synced: when the
    call returns, the file survives a power cut. A process killed before the rename leaves `.<name>.<random>.tmp`.

    Raises:
        OSError: the folder cannot be written or the disk is full; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` as JSON: UTF-8, sorted keys, indent 2, a newline at the end.

    Raises:
        ValueError: a number is not finite.
        TypeError: the value has no JSON form.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def fsync_folder(path: Path) -> None:
    """Make the names in a folder (new files, renames) survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data`, lower-case hex.

    >>> sha256_bytes(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()
