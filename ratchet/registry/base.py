"""The model registry: what every engine must promise.

**One commit point.** What is in production is one row of one database. Files are written and synced before that row
exists; everything else (the `production` link, copies of metadata beside the model) is derived and can be rebuilt.

**Immutable versions.** A version's files, metadata and metrics never change after registration; only its stage does.
`digest` covers every file, and `read_file` checks it on every read.

**One history.** Each change is one event with a number that grows by one per commit, the epoch. Events are never
changed or removed, and each carries the hash of the one before it, so "what was in production at 14:05, and why?"
always has an answer, and an answer that was tampered with is noticed.

**No stage without evidence.** A version can be staged or promoted only with a sealed report of the gate about its very
model file (`gate.json` among its files).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ratchet.registry.evidence import GateSeal

Stage = Literal["none", "staging", "production", "archived"]
EventKind = Literal["register", "stage", "promote", "rollback", "withdraw", "retire", "point", "release", "prune"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRef(_Record):
    """What crosses a task boundary instead of a model: where it is, and what it must hash to."""

    name: str
    version: str
    digest: str
    uri: str


class ModelVersion(_Record):
    """One registered version of a model."""

    name: str
    version: str = Field(description="vX.Y.Z")
    stage: Stage
    digest: str = Field(description="SHA-256 of MANIFEST.json, which holds the SHA-256 of every other file.")
    created_ns: int = Field(description="When it was registered, nanoseconds UTC.")
    metadata: dict[str, Any]
    metrics: dict[str, Any]
    folder: str = Field(description="Where the version's files are: an absolute path or a URI.")
    is_retired: bool = Field(default=False, description="Archived for good: it can never be live again.")
    is_pruned: bool = Field(default=False, description="Its files were deleted by retention; its record stays.")
    gate: GateSeal | None = Field(default=None, description="What the gate said; None if it was never asked.")

    @property
    def ref(self) -> ModelRef:
        """The reference that tasks hand on."""
        return ModelRef(name=self.name, version=self.version, digest=self.digest, uri=self.folder)

    @property
    def gate_verdict(self) -> str | None:
        """What the gate said: "approve", "reject", "inconclusive"; None if it was not asked."""
        return None if self.gate is None else self.gate.verdict

    @property
    def is_approved(self) -> bool:
        """Whether the gate approved it, which production needs."""
        return self.gate_verdict == "approve"


class RegistryEvent(_Record):
    """One committed change."""

    epoch: int = Field(description="Number of the commit; grows by one with each.")
    ts_ns: int = Field(description="Nanoseconds UTC by the clock of the process that made the change.")
    name: str
    kind: EventKind
    version: str = Field(description="The version that the change is about; for a rollback the one put back.")
    previous: str | None = Field(description="The version that lost its stage, or the pointer, by this change.")
    actor: str
    reason: str
    pointer: str | None = Field(default=None, description="The pointer that a `point` or `release` is about.")
    evidence: str | None = Field(
        default=None, description="Digest that seals the gate's report on the version; None where there is none."
    )
    previous_hash: str = Field(description="`hash` of the event before this one; 64 zeros for the first.")
    hash: str = Field(description="SHA-256 over all other fields of this event.")


class ModelRegistry(Protocol):
    """Versions of models and their stages.

    Every change takes who makes it (`actor`) and why (`reason`). Changes of a stage also take `expected_epoch`, the
    `epoch()` at which the caller looked: if any version of this model changed its stage since, nothing happens and
    RegistryConflictError is raised. A change that is already in effect returns at once and writes no event, so a
    step that is run again after a crash does no harm; `rollback_to_previous` is the exception: give it
    `expected_epoch`.

    All methods raise InputError for a malformed name or version, BusyError when another process held the database
    too long, UnavailableError when the disk or database cannot be used, and ArtifactError when the database is
    damaged.
    """

    def register_model(
        self,
        name: str,
        files: Mapping[str, Path | bytes],
        metadata: dict[str, Any],
        metrics: dict[str, Any],
        *,
        actor: str,
        reason: str,
    ) -> ModelVersion:
        """Store a new version with stage "none"; the first is v1.0.0, each further one the next minor number.

        Args:
            name: lower-case letters, digits, `.`, `_`, `-`; at most 64 characters.
            files: content or path by file name; `model.onnx` must be there. A `gate.json` must be a sealed report of
                the gate on that very model file.
            metadata: JSON object: how the model was made and what it needs.
            metrics: JSON object: how well it did.
            actor: who registers.
            reason: why.

        Raises:
            InputError: a name, a file or a value cannot be stored, or the gate's report is not about this model.
            CandidateRejectedError: the registry inspects what it is given, and the files did not pass.
        """
        ...

    def get_model(self, name: str, version: str = "latest") -> ModelVersion:
        """Return one version: "latest" (highest number), "production", "staging", "previous", a pointer or "vX.Y.Z".

        Raises:
            NotFoundError: there is none; the message says what there is.
        """
        ...

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """Return all versions, of one model or of all, by name and number."""
        ...

    def get_model_metadata(self, name: str, version: str = "latest") -> dict[str, Any]:
        """Return the metadata of one version.

        Raises:
            NotFoundError: there is no such version.
        """
        ...

    def set_staging_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put a version into staging; a version that was there becomes archived.

        Raises:
            NotFoundError: there is no such version.
            ArtifactError: its files are missing or altered.
            RegistryConflictError: it is in production or retired, the gate rejected it or never saw it, or the model
                moved on since `expected_epoch`.
        """
        ...

    def set_production_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put a version into production; the one that was there becomes archived and is the one to roll back to.

        Raises:
            NotFoundError: there is no such version.
            ArtifactError: its files are missing or altered.
            RegistryConflictError: the gate did not approve it, or compared it with another version than the one in
                production now; it is retired; or the model moved on.
        """
        ...

    def rollback_to_previous(
        self, name: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put back what was in production before the present version; called again, go one further back.

        Raises:
            ArtifactError: the files of the earlier version are missing or altered.
            RegistryConflictError: there is no earlier version, or the model moved on since `expected_epoch`.
        """
        ...

    def withdraw_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Archive a version that is in staging or production and put nothing in its place.

        Raises:
            NotFoundError: there is no such version.
            RegistryConflictError: it was never staged, or the model moved on since `expected_epoch`.
        """
        ...

    def retire_model(self, name: str, version: str, *, actor: str, reason: str) -> ModelVersion:
        """Archive a version for good; its files stay until retention removes them.

        Raises:
            NotFoundError: there is no such version.
            RegistryConflictError: it is in production, in staging, the one to roll back to, or a pointer is on it.
        """
        ...

    def set_pointer(self, name: str, pointer: str, version: str, *, actor: str, reason: str) -> ModelVersion:
        """Put a pointer, such as "challenger" or "experiment-7", on a version; it leaves the version it was on.

        A version that has a pointer can be neither retired nor pruned.

        Raises:
            InputError: the pointer is not of the form `challenger` or `experiment-...`.
            NotFoundError: there is no such version.
            RegistryConflictError: the version is retired.
        """
        ...

    def release_pointer(self, name: str, pointer: str, *, actor: str, reason: str) -> None:
        """Take a pointer away; one that is not there is no error."""
        ...

    def pointers(self, name: str) -> dict[str, str]:
        """Return the version by pointer: those of `set_pointer`, and production, staging and previous where set."""
        ...

    def prune_models(self, name: str, *, keep: int, actor: str, reason: str) -> list[ModelVersion]:
        """Delete the files of old versions; their records and the history stay.

        Kept are the newest `keep` versions, every version with a stage or pointer, and the one to roll back to.

        Returns:
            The versions whose files were deleted by this call.

        Raises:
            InputError: `keep` is below 1.
        """
        ...

    def history(self, name: str | None = None) -> list[RegistryEvent]:
        """Return all events, of one model or of all, oldest first."""
        ...

    def verify_history(self) -> int:
        """Check the chain of hashes over the whole history and return how many events it has.

        Raises:
            ArtifactError: an event was altered, removed or inserted, the message names the first; or stages, pointers
                or the order of succession are not what the history leads to.
        """
        ...

    def verify_version(self, version: ModelVersion) -> None:
        """Check all files of a version, and that the database says of it what its sealed files say.

        Raises:
            ArtifactError: a file is missing, altered or deleted by retention, or the database disagrees with the files.
        """
        ...

    def epoch(self) -> int:
        """Return the number of the last commit, 0 if there is none; cheap enough to poll."""
        ...

    def read_file(self, version: ModelVersion, filename: str) -> bytes:
        """Return a file's content, after checking it against the version's digest.

        Raises:
            NotFoundError: the version has no such file.
            ArtifactError: the file is missing or altered.
        """
        ...

    def recover(self) -> None:
        """Rebuild what is derived from the database and put aside what a crash left behind."""
        ...
