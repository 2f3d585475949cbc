"""The registry's files: `name/vX.Y.Z/{model.onnx, ..., MANIFEST.json}` and `name/production -> vX.Y.Z`.

A version is written and synced below `.staging` and gets its place by one rename. Nothing here decides what is
registered or live: the database does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ratchet.data.atomic import fsync_folder, sha256_bytes, write_bytes
from ratchet.errors import ArtifactError, InputError
from ratchet.registry.base import ModelVersion
from ratchet.registry.manifest import check_files, checked_read, write_manifest
from ratchet.registry.names import MANIFEST_FILE, check_file_name, check_name, is_name, is_version, parse_version

_LINK = "production"
_STAGING = ".staging"
_ORPHANS = ".orphans"
_LOCK = ".lock"


class ModelFolders:
    """Files of all versions below one folder.

    Args:
        root: the registry's folder; `create` makes it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def create(self) -> None:
        """Make the folder."""
        _make_folder(self.root)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no process is staging, and keep others from it."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def staged(self, name: str, files: Mapping[str, bytes]) -> Iterator[tuple[Path, str]]:
        """Write files and their manifest into a fresh folder, synced; it is removed at the end if still there.

        Yields:
            The folder, and the digest of its manifest.
        """
        with self._locked(fcntl.LOCK_SH):
            folder = self.root / _STAGING / f"{check_name(name)}-{secrets.token_hex(8)}"
            _make_folder(folder)
            try:
                yield folder, _write_files(folder, files)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def seal(self, staged: Path, name: str, version: str) -> None:
        """Give a staged folder its place; the caller holds the write lock and knows that the version is free."""
        target = self._folder(name, version)
        _make_folder(target.parent)
        if target.exists():
            self._put_aside(target)
        staged.rename(target)
        fsync_folder(target.parent)

    def read(self, version: ModelVersion, filename: str) -> bytes:
        """Return a file's content; it was checked against the manifest, and that against the version's digest.

        Raises:
            NotFoundError: the version has no such file.
            ArtifactError: the file or the manifest is missing or altered.
        """
        return checked_read(self._reader(version), version, filename)

    def verify(self, version: ModelVersion) -> None:
        """Check all files of a version.

        Raises:
            ArtifactError: one is missing or altered.
        """
        check_files(self._reader(version), version)

    def location(self, name: str, version: str) -> str:
        """Return the absolute path of a version's folder."""
        return str(self._folder(name, version))

    def show(self, name: str, versions: list[ModelVersion]) -> None:
        """Point `name/production` at the version in production, or remove it; the caller holds the write lock.

        Raises:
            ArtifactError: the version has no folder.
        """
        live = [version.version for version in versions if version.stage == "production"]
        self._link_production(name, live[0] if live else None)

    def versions(self) -> list[tuple[str, str]]:
        """Return (name, version) of every version that has a folder."""
        models = [folder for folder in self.root.iterdir() if folder.is_dir() and is_name(folder.name)]
        found = [(model.name, child.name) for model in models for child in model.iterdir() if is_version(child.name)]
        return sorted(found, key=lambda pair: (pair[0], parse_version(pair[1])))

    def put_aside(self, name: str, version: str) -> None:
        """Move the folder of a version that was never committed to `.orphans`; nothing is deleted."""
        self._put_aside(self._folder(name, version))

    def remove(self, name: str, version: str) -> None:
        """Delete the folder of a version for good; it may be gone already."""
        folder = self._folder(name, version)
        if folder.exists():
            shutil.rmtree(folder)
            fsync_folder(folder.parent)

    def sweep(self) -> None:
        """Remove what interrupted registrations and links left, unless a process is staging just now."""
        for temporary in self.root.glob(f"*/.{_LINK}.*.tmp"):
            temporary.unlink(missing_ok=True)
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                for leftover in (self.root / _STAGING).glob("*"):
                    shutil.rmtree(leftover)
        except BlockingIOError:
            return

    def _link_production(self, name: str, version: str | None) -> None:
        if version is not None and not self._folder(name, version).is_dir():
            raise ArtifactError(f"{self._folder(name, version)}: missing; restore it from a backup")
        link = self.root / check_name(name) / _LINK
        current = link.readlink().name if link.is_symlink() else None
        if version == current:
            return
        if version is None:
            link.unlink()
        else:
            temporary = link.with_name(f".{_LINK}.{secrets.token_hex(8)}.tmp")
            temporary.symlink_to(version)
            temporary.replace(link)
        fsync_folder(link.parent)

    def _reader(self, version: ModelVersion) -> Callable[[str], bytes]:
        folder = self._folder(version.name, version.version)
        return lambda filename: _read_regular(folder / filename)

    def _folder(self, name: str, version: str) -> Path:
        parse_version(version)
        return self.root / check_name(name) / version

    def _put_aside(self, folder: Path) -> None:
        target = self.root / _ORPHANS / f"{folder.parent.name}-{folder.name}-{secrets.token_hex(8)}"
        _make_folder(target.parent)
        folder.rename(target)
        fsync_folder(target.parent)
        fsync_folder(folder.parent)

    @contextmanager
    def _locked(self, mode: int) -> Iterator[None]:
        # The kernel drops the lock when the process dies, so a crash cannot leave it held.
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, mode)
            yield
        finally:
            os.close(descriptor)


def load_files(files: Mapping[str, Path | bytes]) -> dict[str, bytes]:
    """Return the content of each file.

    Raises:
        InputError: a path cannot be read.
    """
    return {check_file_name(filename): _content(filename, source) for filename, source in files.items()}


def _content(filename: str, source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"{filename}: cannot read {source}: {error.strerror or error}") from error


def _write_files(folder: Path, files: Mapping[str, bytes]) -> str:
    for filename, content in files.items():
        write_bytes(folder / filename, content)
    manifest = write_manifest(files)
    write_bytes(folder / MANIFEST_FILE, manifest)
    return sha256_bytes(manifest)


def _make_folder(path: Path) -> None:
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    fsync_folder(path.parent)


def _read_regular(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise ArtifactError(f"{path}: {reason}; restore the registry's folder from a backup") from error
