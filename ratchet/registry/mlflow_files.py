"""Files of versions as artifacts of MLflow runs: a `VersionFiles` on an MLflow store."""

from __future__ import annotations

import fcntl
import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ratchet.clock import NS_PER_S, Clock
from ratchet.data.atomic import sha256_bytes
from ratchet.errors import ArtifactError, UnavailableError
from ratchet.registry.base import ModelVersion
from ratchet.registry.manifest import check_files, checked_read, write_manifest
from ratchet.registry.mlflow_artifacts import ArtifactFolder
from ratchet.registry.mlflow_show import differences, settle, standing_for
from ratchet.registry.mlflow_store import (
    DIGEST_TAG,
    ORPHAN_TAG,
    RUN_TAG,
    STAGE_TAG,
    VERSION_TAG,
    MlflowStore,
    aliases,
    claiming,
    entries,
    find,
    version_alias,
)
from ratchet.registry.names import MANIFEST_FILE, METADATA_FILE, check_name, is_name, parse_version

_logger = logging.getLogger(__name__)
_STAGING_TAG = "ratchet.staging"
_RUN_KEY_TAG = "ratchet.run_key"  # where the tracking spool keeps its own id of a run
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_STAGING = re.compile(r"(?P<path>registry/[0-9a-f]{16}) (?P<ts_ns>\d{1,19})")
_UPLOADED = re.compile(r"/registry/[0-9a-f]{16}$")
_LOCK = ".registry.lock"
_RUN_KEY_TAG = "ratchet.run_key"  # set by ratchet.tracking, which this layer must not import
_RUN_KEY = re.compile(r"[0-9a-f]{32}")
_FORGOTTEN_NS = 3600 * NS_PER_S


@dataclass(slots=True)
class StagedRun:
    """Files that were uploaded; `number` is MLflow's once they are sealed."""

    run_id: str
    source: str
    digest: str
    tracking_run_id: str | None
    is_own_run: bool
    number: int | None = None


class MlflowFiles:
    """The files of all versions in one MLflow store; the port's docstrings say what each method promises.

    A version is a model version of MLflow with the tags `ratchet.version` and `ratchet.digest` and the alias `v1-2-0`;
    its files are artifacts below `registry/` of the run that trained it, or of a run of its own in the experiment
    `registry`. Tags and aliases can be changed by anyone: what is read is proved by the digest in the database, and
    `show` puts them right.

    Left-overs of interrupted registrations are swept when they are an hour old, because a process on another machine
    may be at work.

    Args:
        tracking_uri: `sqlite:///path`, another database, or an MLflow server, which then keeps the files.
        artifact_root: folder for the files of a store without a server, and for this machine's lock.
        clock: tells how old left-overs are.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path, clock: Clock) -> None:
        self.store = MlflowStore(tracking_uri, artifact_root)
        self._clock = clock

    def create(self) -> None:
        """Make the folder, and the experiment in MLflow."""
        self.store.artifact_root.mkdir(parents=True, exist_ok=True)
        with self.store.connected() as client:
            self.store.experiment_id(client)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no process of this machine is staging, and keep others from it."""
        with self.store.locked(_LOCK, fcntl.LOCK_EX):
            yield

    @contextmanager
    def staged(self, name: str, files: Mapping[str, bytes]) -> Iterator[tuple[StagedRun, str]]:
        """Upload files and their manifest; they are deleted at the end unless they were sealed.

        Yields:
            What `seal` takes, and the digest of the manifest.
        """
        check_name(name)
        with self.store.locked(_LOCK, fcntl.LOCK_SH):
            staged = self._upload(name, files)
            try:
                yield staged, staged.digest
            finally:
                if staged.number is None:
                    self._discard(staged)

    def seal(self, staged: StagedRun, name: str, version: str) -> None:
        """Make a model version of the files; the caller holds the write lock and knows that the version is free."""
        alias = version_alias(version)
        tags = {VERSION_TAG: version, DIGEST_TAG: staged.digest, STAGE_TAG: "None"}
        if staged.tracking_run_id is not None:
            tags[RUN_TAG] = staged.tracking_run_id
        with self.store.connected() as client:
            _put_aside(client, name, version)
            _make_model(client, name)
            made = client.create_model_version(
                name, staged.source, run_id=staged.run_id, tags=tags, await_creation_for=0
            )
            staged.number = int(made.version)
            client.set_registered_model_alias(name, alias, made.version)
            client.delete_tag(staged.run_id, _STAGING_TAG)

    def read(self, version: ModelVersion, filename: str) -> bytes:
        """Return a file's content; it was checked against the manifest, and that against the version's digest."""
        with self.store.connected() as client:
            return checked_read(self._folder(client, version).read, version, filename)

    def verify(self, version: ModelVersion) -> None:
        """Check all files of a version."""
        with self.store.connected() as client:
            check_files(self._folder(client, version).read, version)

    def location(self, name: str, version: str) -> str:
        """Return the address by which MLflow finds a version: `models:/name@v1-2-0`."""
        return f"models:/{check_name(name)}@{version_alias(version)}"

    def show(self, name: str, versions: list[ModelVersion]) -> None:
        """Set the stage tag of every version, its alias, and the aliases `production` and `staging`."""
        with self.store.connected() as client:
            shown, found = entries(client, name), aliases(client, name)
            for difference in differences(versions, None, shown, found):
                settle(client, name, difference)
        present = standing_for(versions, shown, found)
        for version in versions:
            if version.stage == "production" and version.version not in present:
                raise ArtifactError(f"{version.folder} is in production and MLflow has no files of it")

    def versions(self) -> list[tuple[str, str]]:
        """Return (name, version) of every version that MLflow has."""
        with self.store.connected() as client:
            found = {(entry.name, entry.version) for entry in entries(client) if is_name(entry.name)}
        pairs = [(name, version) for name, version in found if version is not None]
        return sorted(pairs, key=lambda pair: (pair[0], parse_version(pair[1])))

    def put_aside(self, name: str, version: str) -> None:
        """Mark the model version of a version that was never committed as an orphan; nothing is deleted."""
        with self.store.connected() as client:
            _put_aside(client, name, version)

    def remove(self, name: str, version: str) -> None:
        """Delete the files of a version and its model version; the runs stay."""
        with self.store.connected() as client:
            for entry in claiming(client, name, version):
                # Anyone can make a model version: never delete what the registry did not upload.
                if _UPLOADED.search(entry.source):
                    ArtifactFolder(entry.source, self.store.tracking_uri).delete()
                client.delete_model_version(name, str(entry.number))

    def sweep(self) -> None:
        """Remove what was uploaded an hour ago or earlier and never sealed, unless somebody here is staging now."""
        try:
            with self.store.locked(_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB), self.store.connected() as client:
                own = self.store.experiment_id(client)
                sealed = {entry.source for entry in entries(client)}
                for run in _runs(client, f"tags.`{_STAGING_TAG}` LIKE '%'"):
                    self._sweep(client, run, own, sealed)
        except BlockingIOError:
            return

    def _upload(self, name: str, files: Mapping[str, bytes]) -> StagedRun:
        manifest = write_manifest(files)
        tracking_run_id = _tracking_run_id(files)
        path = f"registry/{secrets.token_hex(8)}"
        staging = f"{path} {self._clock.now_ns()}"
        with self.store.connected() as client:
            run = _living_run(client, tracking_run_id)
            is_own_run = run is None
            if run is None:
                run = client.create_run(self.store.experiment_id(client), run_name=name, tags={_STAGING_TAG: staging})
            else:
                client.set_tag(run.info.run_id, _STAGING_TAG, staging)
            run_id = run.info.run_id
            with TemporaryDirectory() as temporary:
                for filename, content in {**files, MANIFEST_FILE: manifest}.items():
                    (Path(temporary) / filename).write_bytes(content)
                client.log_artifacts(run_id, temporary, path)
            if is_own_run:
                client.update_run(run_id, status="FINISHED")
            source = f"{run.info.artifact_uri}/{path}"
            ArtifactFolder(source, self.store.tracking_uri).sync()
        return StagedRun(run_id, source, sha256_bytes(manifest), tracking_run_id, is_own_run)

    def _discard(self, staged: StagedRun) -> None:
        try:
            with self.store.connected() as client:
                self._delete(client, staged.run_id, staged.source, is_own_run=staged.is_own_run)
        except UnavailableError as error:
            _logger.warning("files of a failed registration stay in MLflow until the next sweep: %s", error)

    def _sweep(self, client: Any, run: Any, own_experiment: str, sealed: set[str]) -> None:
        staging = _STAGING.fullmatch(run.data.tags[_STAGING_TAG])
        source = f"{run.info.artifact_uri}/{staging['path']}" if staging else ""
        if staging is None or source in sealed:
            client.delete_tag(run.info.run_id, _STAGING_TAG)
        elif self._clock.now_ns() - int(staging["ts_ns"]) >= _FORGOTTEN_NS:
            self._delete(client, run.info.run_id, source, is_own_run=run.info.experiment_id == own_experiment)

    def _delete(self, client: Any, run_id: str, source: str, *, is_own_run: bool) -> None:
        ArtifactFolder(source, self.store.tracking_uri).delete()
        client.delete_tag(run_id, _STAGING_TAG)
        if is_own_run:
            client.delete_run(run_id)

    def _folder(self, client: Any, version: ModelVersion) -> ArtifactFolder:
        entry = find(client, version.name, version.version, version.digest)
        if entry is None:
            raise ArtifactError(f"{version.folder}: MLflow has no such version; restore its store from a backup")
        return ArtifactFolder(entry.source, self.store.tracking_uri)


def _put_aside(client: Any, name: str, version: str) -> None:
    for entry in claiming(client, name, version):
        client.delete_registered_model_alias(name, version_alias(version))
        client.set_model_version_tag(name, str(entry.number), ORPHAN_TAG, version)
        client.delete_model_version_tag(name, str(entry.number), STAGE_TAG)


def _make_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tracking_run_id(files: Mapping[str, bytes]) -> str | None:
    """Return the training run that the metadata name; None where there are none or they name none."""
    try:
        found = json.loads(files[METADATA_FILE])["tracking_run_id"]
    except (KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, str) and found else None


def _living_run(client: Any, run_id: str | None) -> Any:
    """Return the run with this id, MLflow's or the tracking spool's, if MLflow has it and it was not deleted."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy

    if run_id is None or not _RUN_ID.fullmatch(run_id):
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return next(iter(_runs(client, f"tags.`{_RUN_KEY_TAG}` = '{run_id}'")), None)
    return run if run.info.lifecycle_stage == "active" else None


def _runs(client: Any, filter_string: str) -> list[Any]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string=filter_string))
