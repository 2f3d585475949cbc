"""Where the files of versions are kept: what every store of files must promise.

The database decides what is registered and live; a store only keeps bytes, and shows what is derived: a `production`
link, or aliases and tags. A version's files never change after `seal`, and `read` proves it each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ratchet.registry.base import ModelVersion


class VersionFiles(Protocol):
    """Files of all versions of all models.

    Every method raises UnavailableError, or an OSError that the registry translates, when the store cannot be used.
    `Staged` handles are opaque to the caller.
    """

    def create(self) -> None:
        """Make the store; it may be there already."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Wait until nobody is staging, and keep others from it."""
        ...

    def staged(self, name: str, files: Mapping[str, bytes]) -> AbstractContextManager[tuple[Any, str]]:
        """Write files and their manifest to a place that no version has yet, durably.

        Yields a handle for `seal` and the digest of the manifest; what was not sealed is removed on leaving.
        """
        ...

    def seal(self, staged: Any, name: str, version: str) -> None:
        """Give staged files their place; the caller holds the write lock and knows that the version is free."""
        ...

    def read(self, version: ModelVersion, filename: str) -> bytes:
        """Return a file's content, checked against the manifest, and that against the version's digest.

        Raises:
            NotFoundError: the version has no such file.
            ArtifactError: the file or the manifest is missing or altered.
        """
        ...

    def verify(self, version: ModelVersion) -> None:
        """Check all files of a version.

        Raises:
            ArtifactError: one is missing or altered.
        """
        ...

    def location(self, name: str, version: str) -> str:
        """Return where a version's files are, for people and other programs: an absolute path or a URI."""
        ...

    def show(self, name: str, versions: list[ModelVersion]) -> None:
        """Bring what is derived in line with the database: `versions` are all of the model's, with their stages.

        A registry whose store shows only what is in production may give it no more than that version.

        Raises:
            ArtifactError: the version in production has no files here.
        """
        ...

    def versions(self) -> list[tuple[str, str]]:
        """Return (name, version) of every version that has files."""
        ...

    def put_aside(self, name: str, version: str) -> None:
        """Move the files of a version that was never committed out of the way; nothing is deleted."""
        ...

    def remove(self, name: str, version: str) -> None:
        """Delete the files of a version for good; a version without files is no error."""
        ...

    def sweep(self) -> None:
        """Remove what interrupted registrations left, unless somebody is staging just now."""
        ...
