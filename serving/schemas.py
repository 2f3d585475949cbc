"""What the model server accepts and answers, checked strictly: no extra field, no coercion, no NaN or infinity."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_BATCH = 256
"""Most requests that one batch may hold."""

ServedStage = Literal["production", "staging"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Row = Annotated[list[float], Field(min_length=1, max_length=4_096)]
Window = Annotated[list[Row], Field(min_length=1, max_length=4_096)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PredictRequest(_Strict):
    """One question: the newest window of `symbol`, or the `window` (time, feature) that the caller brings."""

    symbol: Text | None = Field(None, description="BASE/QUOTE, for example BTC/USDT.")
    model: Text | None = Field(None, description="Unset: the most recently promoted model that covers the symbol.")
    window: Window | None = Field(None, description="Features (time, feature), oldest row first; unset: the newest.")
    stage: ServedStage = "production"

    @model_validator(mode="after")
    def _names_a_window(self) -> Self:
        if self.symbol is None and self.window is None:
            raise ValueError("give a symbol, a window, or both")
        return self


class BatchRequest(_Strict):
    """Several questions, answered in their order."""

    requests: list[PredictRequest] = Field(min_length=1, max_length=MAX_BATCH)


class LatencySplit(_Strict):
    """Where the time of one answer went, ms; a batch's inference counts in full for each of its answers."""

    queue: float = Field(ge=0, description="Waiting for the thread that answers.")
    features: float = Field(ge=0, description="Reading the request, choosing models, fetching windows.")
    inference: float = Field(ge=0, description="Running the model.")
    total: float = Field(ge=0, description="From the request's last byte to the finished answer.")


class Prediction(_Strict):
    """One answer, with everything needed to say later what was live and why."""

    symbol: str | None
    model: str
    version: str
    stage: ServedStage
    digest: str
    schema_hash: str
    p_up: float = Field(ge=0, le=1, description="P(up | the move is not flat) over the model's horizon.")
    direction: Literal["up", "down"]
    advice: Literal["act", "abstain"]
    reason: str = Field(description="Why to abstain; empty where the advice is to act.")
    as_of: str | None = Field(description="Close of the last bar used, ISO 8601 UTC; null for a caller's window.")
    valid_until: str | None = Field(description="Close of the next bar: a newer answer exists from then on.")
    is_stale: bool
    latency_ms: LatencySplit


class BatchPrediction(_Strict):
    """The answers of a batch, in the order of its requests."""

    predictions: list[Prediction]


class ServedModel(_Strict):
    """One loaded version."""

    model: str
    version: str
    stage: ServedStage
    digest: str
    schema_hash: str
    feature_view: str
    symbols: tuple[str, ...]
    window: int
    n_features: int
    timeframe: str
    horizon: int
    since: str = Field(description="When the registry gave it this stage, ISO 8601 UTC.")


class LoadFailure(_Strict):
    """A version that the registry wants served and the server could not load."""

    model: str
    version: str
    stage: ServedStage
    error: str
    still_serving: str | None = Field(description="Version that answers in its place.")


class ServedModels(_Strict):
    """What is loaded, at one state of the registry."""

    epoch: int
    models: tuple[ServedModel, ...]
    failures: tuple[LoadFailure, ...]


class Health(_Strict):
    """`ok`: everything that the registry wants served is served; `degraded` says in `problems` what is not."""

    status: Literal["ok", "degraded"]
    home: str = Field(description="Folder of the artefacts that the server works on.")
    is_ready: bool = Field(description="At least one production model answers.")
    epoch: int
    problems: tuple[str, ...]
    models: tuple[ServedModel, ...]
    failures: tuple[LoadFailure, ...]


class FieldProblem(_Strict):
    """One field of a request that was refused."""

    field: str
    problem: str


class ErrorReply(_Strict):
    """The body of every answer that is not a success."""

    error: str
    fields: tuple[FieldProblem, ...] = ()
