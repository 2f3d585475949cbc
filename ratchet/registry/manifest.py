"""MANIFEST.json: the SHA-256 of every file of a version; its own SHA-256 is the version's digest.

Every store of files checks what it reads here, so that a version is the same bytes wherever it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from ratchet.data.atomic import sha256_bytes
from ratchet.errors import ArtifactError, NotFoundError
from ratchet.registry.base import ModelVersion
from ratchet.registry.names import MANIFEST_FILE, check_file_name

ReadRaw = Callable[[str], bytes]
"""Reads one file of a version as it is; raises ArtifactError where it is missing."""


def write_manifest(files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of these files; the same files give the same bytes.

    >>> write_manifest({"a": b""}).decode().split()[1]
    '"a":'
    """
    digests = {filename: sha256_bytes(content) for filename, content in files.items()}
    return (json.dumps(digests, indent=2, sort_keys=True) + "\n").encode()


def checked_read(read_raw: ReadRaw, version: ModelVersion, filename: str) -> bytes:
    """Return a file's content, checked against the manifest, and that against the version's digest.

    Raises:
        InputError: the file name is malformed.
        NotFoundError: the version has no such file.
        ArtifactError: the file or the manifest is missing or altered.
    """
    check_file_name(filename)
    manifest = _checked(read_raw, version, MANIFEST_FILE, version.digest)
    if filename == MANIFEST_FILE:
        return manifest
    digests: dict[str, str] = json.loads(manifest)
    if filename not in digests:
        raise NotFoundError(
            f"{version.name} {version.version} has no file {filename}; it has {', '.join(sorted(digests))}"
        )
    return _checked(read_raw, version, filename, digests[filename])


def check_files(read_raw: ReadRaw, version: ModelVersion) -> None:
    """Check all files of a version.

    Raises:
        ArtifactError: one is missing or altered.
    """
    digests: dict[str, str] = json.loads(_checked(read_raw, version, MANIFEST_FILE, version.digest))
    for filename, digest in digests.items():
        _checked(read_raw, version, filename, digest)


def _checked(read_raw: ReadRaw, version: ModelVersion, filename: str, digest: str) -> bytes:
    content = read_raw(filename)
    found = sha256_bytes(content)
    if found != digest:
        raise ArtifactError(
            f"{version.folder}/{filename}: altered: its SHA-256 is {found[:12]}, registered was {digest[:12]}"
        )
    return content
