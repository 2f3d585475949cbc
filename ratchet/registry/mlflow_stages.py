"""The stages None, Staging, Production and Archived of MLflow's old registry, without MLflow's deprecated stages.

Any `ModelRegistry` decides; an MLflow store shows what it decided: files as a model version, the stage as its tag
`stage`, and the aliases `production`, `staging`, `challenger`, `experiment-...` and `v1-2-0` on the registered model.

Which change of a stage is allowed, and what it means to the registry:

    from \\ to     None       Staging               Production               Archived
    None          -          set_staging_model     set_production_model     refused: retire_model
    Staging       refused    -                     set_production_model     withdraw_model
    Production    refused    refused               -                        withdraw_model
    Archived      refused    set_staging_model     set_production_model     -

Staging and production need the gate's report, as the registry demands. The former production version becomes archived
in the same transaction that promotes the new one; what MLflow shows is derived from that, afterwards.
"""

from __future__ import annotations

import fcntl
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from ratchet.clock import Clock
from ratchet.errors import ArtifactError, NotFoundError, RatchetError, RegistryConflictError
from ratchet.registry.base import ModelRegistry, ModelVersion
from ratchet.registry.mlflow_files import MlflowFiles
from ratchet.registry.mlflow_show import SHOWN, ShownStage, differences, settle
from ratchet.registry.mlflow_store import STAGE_TAG, Entry, aliases, entries, find
from ratchet.registry.names import MANIFEST_FILE, check_name, parse_version

_logger = logging.getLogger(__name__)
_LOCK = ".mirror.lock"
_ROUNDS = 5

Verb = str
TRANSITIONS: dict[ShownStage, dict[ShownStage, Verb]] = {
    "None": {"Staging": "stage", "Production": "promote"},
    "Staging": {"Production": "promote", "Archived": "withdraw"},
    "Production": {"Archived": "withdraw"},
    "Archived": {"Staging": "stage", "Production": "promote"},
}
"""The method of the registry that makes each allowed change; what is not here is refused."""

_REFUSALS: dict[tuple[ShownStage, ShownStage], str] = {
    ("None", "Archived"): "it was never staged; `retire_model` archives it for good",
    ("Production", "Staging"): "promote another version, or archive it first",
}


@dataclass(frozen=True, slots=True)
class Transition:
    """What a change of a stage came to: the version as the registry has it now, and whether MLflow shows it yet."""

    version: ModelVersion
    is_shown: bool


class MlflowCatalog:
    """Shows the versions and stages of a registry in an MLflow store.

    Nothing is decided by what MLflow says. A change counts once the registry has committed it; if MLflow cannot be
    reached then, the change stays, `is_shown` is False, and `reconcile` puts MLflow right later.

    Args:
        tracking_uri: `sqlite:///path`, another database, or an MLflow server.
        artifact_root: folder for the files of a store without a server, and for this machine's locks.
        clock: stamps what is uploaded.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path, clock: Clock) -> None:
        self.files = MlflowFiles(tracking_uri, artifact_root, clock)
        self._store = self.files.store

    def register_model_to_mlflow(self, registry: ModelRegistry, version: ModelVersion) -> int:
        """Copy a version into MLflow and return MLflow's number for it; a version that is there is not copied again.

        The files come through `registry.read_file`, so they are proved on the way. The model version belongs to the
        run that trained it, `tracking_run_id` of the metadata, if MLflow has that run.

        Raises:
            ArtifactError: a file is missing or altered.
            UnavailableError: MLflow cannot be reached.
        """
        with self._store.locked(_LOCK, fcntl.LOCK_EX):
            present = self.entry(version)
            return present.number if present is not None else self._copy(registry, version)

    def transition_model_stage(
        self,
        registry: ModelRegistry,
        name: str,
        version: str,
        stage: ShownStage,
        *,
        actor: str,
        reason: str,
        expected_epoch: int | None = None,
    ) -> Transition:
        """Move a version to a stage by the registry's rules, then show it in MLflow.

        The stage that it has already is no change, but is shown again.

        Raises:
            NotFoundError: there is no such version.
            RegistryConflictError: the table of this module, the gate or another rule of the registry refuses, or the
                model moved on since `expected_epoch`.
            ArtifactError: the version's files are missing or altered.
        """
        parse_version(version)
        target = registry.get_model(name, version)
        change = {
            "stage": registry.set_staging_model,
            "promote": registry.set_production_model,
            "withdraw": registry.withdraw_model,
        }
        if SHOWN[target.stage] != stage:
            verb = _verb(target, stage)
            target = change[verb](name, version, actor=actor, reason=reason, expected_epoch=expected_epoch)
        return Transition(target, self._show_committed(registry, target))

    def stage_of(self, name: str, version: str) -> ShownStage:
        """Return the stage that MLflow shows for a version; the registry may know better.

        Raises:
            NotFoundError: MLflow does not have the version, or shows no stage for it.
        """
        parse_version(version)
        with self._store.connected() as client:
            entry = find(client, check_name(name), version, "")
        found = None if entry is None else entry.tags.get(STAGE_TAG)
        known = next((stage for stage in SHOWN.values() if stage == found), None)
        if known is None:
            raise NotFoundError(f"MLflow shows no stage of {name} {version}; run `ratchet registry reconcile`")
        return known

    def show(self, registry: ModelRegistry, name: str) -> None:
        """Bring all tags and aliases of one model in line with the registry; versions MLflow lacks are passed over.

        Raises:
            UnavailableError: MLflow cannot be reached.
        """
        # Another process may change the registry meanwhile; the last to show must have seen the last change.
        for _ in range(_ROUNDS):
            epoch = registry.epoch()
            versions, pointers = registry.list_models(name), registry.pointers(name)
            with self._store.connected() as client:
                shown = entries(client, name)
                for difference in differences(versions, pointers, shown, aliases(client, name)):
                    settle(client, name, difference)
            if registry.epoch() == epoch:
                return

    def entry(self, version: ModelVersion) -> Entry | None:
        """Return the model version that stands for a version; None if MLflow has none."""
        with self._store.connected() as client:
            return find(client, version.name, version.version, version.digest)

    def replace(self, registry: ModelRegistry, version: ModelVersion) -> int:
        """Put MLflow's copy of a version aside and copy the version anew; return MLflow's new number.

        Raises:
            ArtifactError: the registry's own files are missing or altered.
        """
        with self._store.locked(_LOCK, fcntl.LOCK_EX):
            return self._copy(registry, version)

    def _copy(self, registry: ModelRegistry, version: ModelVersion) -> int:
        filenames: dict[str, str] = json.loads(registry.read_file(version, MANIFEST_FILE))
        files = {filename: registry.read_file(version, filename) for filename in filenames}
        # Processes of this machine copy one after the other, so that no version is copied twice.
        with self.files.staged(version.name, files) as (staged, digest):
            if digest != version.digest:
                raise ArtifactError(
                    f"{version.name} {version.version}: the digest of its files is {digest[:12]}, "
                    f"registered was {version.digest[:12]}"
                )
            self.files.seal(staged, version.name, version.version)
        return int(staged.number or 0)

    def _show_committed(self, registry: ModelRegistry, version: ModelVersion) -> bool:
        try:
            self.register_model_to_mlflow(registry, version)
            self.show(registry, version.name)
        except RatchetError as error:
            _logger.warning("%s %s: MLflow does not show its stage yet: %s", version.name, version.version, error)
            return False
        return True


def _verb(version: ModelVersion, stage: ShownStage) -> Verb:
    present = SHOWN[version.stage]
    verb = TRANSITIONS[present].get(stage)
    if verb is None:
        hint = _REFUSALS.get((present, stage), "a version that was staged never returns to None")
        raise RegistryConflictError(f"{version.name} {version.version} cannot go from {present} to {stage}: {hint}")
    return verb
