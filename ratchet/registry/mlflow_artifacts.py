"""Files at an address that MLflow gave: on this machine's disk, or behind an MLflow server."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

from ratchet.data.atomic import fsync_folder
from ratchet.errors import ArtifactError


class ArtifactFolder:
    """One folder of files; the caller translates what MLflow raises.

    Args:
        source: `file:///folder`, or any address that MLflow can read, such as `mlflow-artifacts:/...`.
        tracking_uri: the store whose server answers for `mlflow-artifacts:`.
    """

    def __init__(self, source: str, tracking_uri: str) -> None:
        self.source = source
        self._tracking_uri = tracking_uri
        self._repository: Any = None
        self._names: frozenset[str] | None = None

    def read(self, filename: str) -> bytes:
        """Return a file's content as it is.

        Raises:
            ArtifactError: it is not there.
        """
        folder = _local_folder(self.source)
        if folder is not None:
            return _read_local(folder / filename)
        # An absent file and a server in trouble raise the same error, so look first.
        if filename not in self._listed():
            raise ArtifactError(f"{self.source}/{filename}: missing; restore MLflow's files from a backup")
        with TemporaryDirectory() as temporary:
            self._opened().download_artifacts(filename, temporary)
            return (Path(temporary) / filename).read_bytes()

    def sync(self) -> None:
        """Make files on this machine's disk survive a power cut; a server looks after its own."""
        folder = _local_folder(self.source)
        if folder is None:
            return
        for path in folder.iterdir():
            _fsync_file(path)
        for made in (folder, *list(folder.parents)[:4]):  # registry, artifacts, the run's folder, the root
            fsync_folder(made)

    def delete(self) -> None:
        """Delete the files; a folder that is not there is no error."""
        self._opened().delete_artifacts()

    def _listed(self) -> frozenset[str]:
        if self._names is None:
            self._names = frozenset(info.path for info in self._opened().list_artifacts())
        return self._names

    def _opened(self) -> Any:
        if self._repository is None:
            from mlflow.store.artifact.artifact_repository_registry import (  # noqa: PLC0415 - heavy
                get_artifact_repository,
            )

            self._repository = get_artifact_repository(self.source, tracking_uri=self._tracking_uri)
        return self._repository


def _local_folder(source: str) -> Path | None:
    parsed = urlparse(source)
    if parsed.scheme not in {"", "file"}:
        return None
    return Path(unquote(parsed.path))


def _read_local(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}; restore MLflow's files from a backup") from error


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
