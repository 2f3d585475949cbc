"""What an MLflow store holds of the registry, read and written through `MlflowClient` and never its stages."""

from __future__ import annotations

import fcntl
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from sqlalchemy.exc import SQLAlchemyError

from ratchet.errors import ConfigurationError, InputError, UnavailableError
from ratchet.registry.names import is_version, parse_version

VERSION_TAG = "ratchet.version"
DIGEST_TAG = "ratchet.digest"
RUN_TAG = "ratchet.tracking_run_id"
ORPHAN_TAG = "ratchet.orphan"
UNKNOWN_TAG = "ratchet.unknown"
STAGE_TAG = "stage"
EXPERIMENT = "registry"

_HEALTH_TIMEOUT_S = 2.0
_PER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A model version as MLflow has it; `number` is MLflow's own, `source` the address of its files."""

    name: str
    number: int
    source: str
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The version of the registry that it says it is; None for one that was put aside or found to be unknown."""
        claimed = self.tags.get(VERSION_TAG, "")
        return claimed if is_version(claimed) and not self.is_set_aside else None

    @property
    def is_set_aside(self) -> bool:
        """Whether it was never committed, or found to be unknown to the registry."""
        return ORPHAN_TAG in self.tags or UNKNOWN_TAG in self.tags


class MlflowStore:
    """A connection to one MLflow store.

    The caller switches MLflow's telemetry off (`ratchet.settings.silence_telemetry`) before the first call, which
    imports MLflow and brings the store's tables up to date. A server is asked for a sign of life before each use,
    because MLflow's own client tries a dead one again for minutes.

    Args:
        tracking_uri: `sqlite:///path`, another database or `http://...` of an MLflow server.
        artifact_root: folder for files of a store without a server, and for the lock of this machine's processes.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root.absolute()
        self._client: Any = None

    @property
    def is_server(self) -> bool:
        """Whether an MLflow server is asked, which keeps the files as well."""
        return self.tracking_uri.startswith(("http://", "https://"))

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Yield the `MlflowClient`; what it raises becomes an error of the library.

        Raises:
            ConfigurationError: MLflow is not installed.
            UnavailableError: the store does not answer, or refuses.
        """
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 - takes seconds to import
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError('a registry on MLflow needs MLflow: pip install "ratchet[track]"') from error
        try:
            if self.is_server:
                self._refuse_if_down()
            if self._client is None:
                self._client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            yield self._client
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise UnavailableError(f"MLflow at {self.tracking_uri}: {_first_line(error)}") from error

    @contextmanager
    def locked(self, filename: str, mode: int) -> Iterator[None]:
        """Hold a lock among the processes of this machine; the kernel drops it when a process dies.

        Args:
            filename: of the lock, below `artifact_root`.
            mode: `fcntl.LOCK_SH` or `LOCK_EX`, with `LOCK_NB` for a BlockingIOError instead of waiting.

        Raises:
            UnavailableError: the folder cannot be written.
        """
        try:
            self.artifact_root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.artifact_root / filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UnavailableError(f"{self.artifact_root}: {error.strerror or error}") from error
        try:
            fcntl.flock(descriptor, mode)
            yield
        finally:
            os.close(descriptor)

    def experiment_id(self, client: Any) -> str:
        """Return the id of the experiment that holds the registry's files; it is made when it does not exist."""
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            # A server decides itself where files go.
            location = None if self.is_server else self.artifact_root.as_uri()
            return _create_experiment(client, location)
        if found.lifecycle_stage == "deleted":
            raise InputError(f"experiment {EXPERIMENT!r} was deleted in MLflow; restore it there")
        return str(found.experiment_id)

    def _refuse_if_down(self) -> None:
        url = f"{self.tracking_uri.rstrip('/')}/health"
        try:
            with urllib.request.urlopen(url, timeout=_HEALTH_TIMEOUT_S):  # noqa: S310 - http or https, see is_server
                pass
        except HTTPError:
            return  # it answers, if only to say that it has no such page


def entries(client: Any, name: str | None = None) -> list[Entry]:
    """Return all model versions of one model or of all, oldest first; deleted ones are not among them."""
    return _search(client, None if name is None else f"name = '{name}'")


def claiming(client: Any, name: str, version: str) -> list[Entry]:
    """Return the model versions that say they are this version, oldest first."""
    found = _search(client, f"name = '{name}' AND tags.`{VERSION_TAG}` = '{version}'")
    return [entry for entry in found if entry.version == version]


def find(client: Any, name: str, version: str, digest: str) -> Entry | None:
    """Return the model version that stands for a version, by its tag, else by its alias."""
    by_tag = identified(claiming(client, name, version), {version: digest})
    if version in by_tag:
        return by_tag[version]
    number = aliases(client, name).get(version_alias(version))
    unclaimed = (entry for entry in entries(client, name) if entry.version is None and not entry.is_set_aside)
    return next((entry for entry in unclaimed if entry.number == number), None)


def aliases(client: Any, name: str) -> dict[str, int]:
    """Return MLflow's version number by alias; empty when the model is not there."""
    found = client.search_registered_models(filter_string=f"name = '{name}'")
    return {alias: int(number) for model in found for alias, number in model.aliases.items()}


def identified(found: list[Entry], digests: dict[str, str]) -> dict[str, Entry]:
    """Return the model version that stands for each version of one model.

    Of several that claim to be the same version, the one with the registered digest counts, then the oldest.

    Args:
        found: the model's entries, oldest first.
        digests: the registered digest by version; versions that are not in it are taken by their claim alone.
    """
    chosen: dict[str, Entry] = {}
    for entry in found:
        version = entry.version
        if version is None:
            continue
        holder = chosen.get(version)
        if holder is None or (holder.tags.get(DIGEST_TAG) != digests.get(version) == entry.tags.get(DIGEST_TAG)):
            chosen[version] = entry
    return chosen


def version_alias(version: str) -> str:
    """Return the alias of a version, because MLflow allows no dots in one.

    >>> version_alias("v1.2.0")
    'v1-2-0'
    """
    parse_version(version)
    return version.replace(".", "-")


def _search(client: Any, filter_string: str | None) -> list[Entry]:
    found: list[Entry] = []
    token = None
    while True:
        page = client.search_model_versions(
            filter_string=filter_string,
            max_results=_PER_PAGE,
            order_by=["name ASC", "version_number ASC"],
            page_token=token,
        )
        found += [Entry(item.name, int(item.version), item.source, dict(item.tags)) for item in page]
        token = page.token
        if not token:
            return found


def _create_experiment(client: Any, location: str | None) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))
    except MlflowException as error:
        # Another process was first.
        found = client.get_experiment_by_name(EXPERIMENT)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
