"""What a version says of itself: how to feed it, what it was made of, and what would make it again.

Reading is lenient, registering is strict. `VersionMetadata.model_validate` accepts a version of any age: fields that
came later are None where they are missing, and keys that are no longer used are ignored. `check_metadata`, which new
versions must pass, wants every field and knows no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from ratchet.errors import InputError

INPUT_NAME = "windows"
OUTPUT_NAME = "p_up"
BATCH = "batch"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class TensorSpec(_Part):
    """One input or output of the graph; a size that is free is `batch`."""

    name: Text
    dtype: Literal["float32"]
    shape: tuple[Annotated[int, Field(ge=1)] | Literal["batch"], ...]


class Signature(_Part):
    """What the graph takes and what it answers."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, window: int, n_features: int) -> Self:
        """Return the signature of every model here: `windows` (batch, window, n_features) to `p_up` (batch,)."""
        windows = TensorSpec(name=INPUT_NAME, dtype="float32", shape=(BATCH, window, n_features))
        return cls(inputs=(windows,), outputs=(TensorSpec(name=OUTPUT_NAME, dtype="float32", shape=(BATCH,)),))


class FeatureSetVersion(_Part):
    """The feature set's name, and as its version the hash of the schema that it had."""

    name: Text
    version: Sha256


class CodeState(_Part):
    """The commit that made the model; `is_dirty` where the working tree had changes on top."""

    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    is_dirty: bool


class BenchmarkHardware(_Part):
    """The machine on which the latency was measured."""

    cpu_model: Text
    n_cores: int = Field(ge=1)
    python: Text
    onnxruntime: Text


class VersionMetadata(_Part):
    """Metadata of one version; hashes are SHA-256 in lower-case hex, times are ns UTC."""

    feature_view: Text
    schema_hash: Sha256
    feature_names: tuple[Text, ...] = Field(min_length=1, max_length=10_000)
    window: int = Field(ge=1, le=100_000, description="Bars in a window.")
    timeframe: Text
    horizon: int = Field(ge=1, description="Bars from the decision to the outcome.")
    market: Text
    symbols: tuple[Text, ...] = Field(min_length=1)
    train_end_ns: int = Field(description="End of the latest label that the model was trained on.")
    dataset_digest: Text
    panel_digest: Text
    tracking_run_id: Text
    request: dict[str, JsonValue]
    recipe: dict[str, JsonValue]
    signature: Signature | None = None
    feature_set: FeatureSetVersion | None = None
    code: CodeState | None = None
    seeds: dict[str, int] | None = Field(default=None, description="Seed by what it seeds.")
    env_lock: Sha256 | None = Field(default=None, description="Digest of the names and versions of all packages.")
    parent_version: str | None = Field(
        default=None, description="The champion that it was judged against; None for the first."
    )
    opset: int | None = Field(default=None, ge=1, description="Version of the ONNX operator set.")
    benchmark_hardware: BenchmarkHardware | None = None

    @property
    def n_features(self) -> int:
        """Features of one bar."""
        return len(self.feature_names)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(set(self.feature_names)) != len(self.feature_names):
            raise ValueError("feature_names: a name is there twice")
        expected = Signature.of(self.window, self.n_features)
        if self.signature is not None and self.signature != expected:
            raise ValueError(
                f"signature: it must take {INPUT_NAME} {expected.inputs[0].shape} and answer {OUTPUT_NAME}"
            )
        if self.feature_set is not None and self.feature_set.version != self.schema_hash:
            raise ValueError("feature_set: its version is not schema_hash")
        return self


_MAY_BE_NULL = frozenset({"code", "parent_version"})  # a first model has no parent, an image no checkout


def check_metadata(metadata: Mapping[str, Any]) -> VersionMetadata:
    """Return the metadata of a version that is to be registered: complete, and nothing else in it.

    Raises:
        InputError: a field is missing, unknown or wrong; the message names it.
    """
    fields = VersionMetadata.model_fields
    for name in sorted(map(str, metadata.keys() - fields.keys())):
        raise InputError(f"metadata {name[:80]!r}: no such field; there are {', '.join(fields)}")
    for name in fields:
        if name not in metadata or (metadata[name] is None and name not in _MAY_BE_NULL):
            raise InputError(f"metadata {name}: missing; a new version must say it")
    try:
        return VersionMetadata.model_validate(dict(metadata))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ").splitlines()[0]
        raise InputError(f"metadata {where or reason}{f': {reason}' if where else ''}") from error
