"""What the model server answers, as its callers see it; fields that a newer server adds are ignored."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class ServedPrediction(_Answer):
    """One prediction.

    `p_up` is P(up | the move is not flat). `as_of` is the close of the last bar used and `valid_until` the close of the
    next one, ISO 8601 UTC; both are None where the caller brought the window. Act only where `advice` says so.
    `latency_ms` splits the server's time into queue, features, inference and total.
    """

    symbol: str | None
    model: str
    version: str
    stage: str
    digest: str
    schema_hash: str
    p_up: float
    direction: Literal["up", "down"]
    advice: Literal["act", "abstain"]
    reason: str
    as_of: str | None
    valid_until: str | None
    is_stale: bool
    latency_ms: dict[str, float]


class ModelOnServer(_Answer):
    """One loaded version; `since` is when it got its stage, ISO 8601 UTC."""

    model: str
    version: str
    stage: str
    digest: str
    schema_hash: str
    feature_view: str
    symbols: tuple[str, ...]
    window: int
    n_features: int
    timeframe: str
    horizon: int
    since: str


class FailedModel(_Answer):
    """A version that the server could not load, and the one that answers in its place."""

    model: str
    version: str
    stage: str
    error: str
    still_serving: str | None


class ModelsOnServer(_Answer):
    """Everything that is loaded, at one epoch of the registry."""

    epoch: int
    models: tuple[ModelOnServer, ...]
    failures: tuple[FailedModel, ...]


class ServerHealth(ModelsOnServer):
    """`degraded` comes with the `problems`; `home` is the folder that the server works on."""

    status: Literal["ok", "degraded"]
    home: str
    is_ready: bool
    problems: tuple[str, ...]


class BatchAnswer(_Answer):
    """The answers of a batch, in the order of its requests."""

    predictions: tuple[ServedPrediction, ...]


class Refusal(_Answer):
    """The body of an answer that is not a success."""

    error: str
