"""One turn of the loop: what was asked for, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ratchet.errors import InputError
from ratchet.evaluation.criteria import InfraReport
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.validation import ValidationResult
from ratchet.exchanges import SimulatedMarketConfig
from ratchet.exchanges.factory import is_exchange_source
from ratchet.exchanges.source import parse_venue_source
from ratchet.features.sets import FeatureSet
from ratchet.market import Timeframe, parse_symbol

_MODEL_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetrainRequest(_Frozen):
    """What one retraining was asked to do."""

    source: str = "simulated://"
    symbols: tuple[str, ...] | None = None
    timeframe: str = "1h"
    horizon: int = Field(1, ge=1, le=1_000)
    model: str | None = None
    preset: Literal["small", "standard"] = "small"
    features: str = "base"
    n_splits: int = Field(5, ge=1, le=50)
    scheme: Literal["expanding", "rolling"] = "expanding"
    calendar: Literal["week", "month", "quarter"] | None = None
    reason: str = "manual"
    event_id: str = ""

    @classmethod
    def create(
        cls, *, source: str, symbols: Sequence[str] | None, timeframe: str, model: str | None, **rest: object
    ) -> Self:
        """Check and normalise what a user typed.

        Raises:
            InputError: the source, a symbol, the timeframe, the model's name or a number is not usable.
            ConfigurationError: there is no such feature set.
        """
        if not is_exchange_source(source) and not re.match(r"files:.", source):
            raise InputError(
                f"source {source!r} is neither files:PATH nor an exchange such as simulated:// or binance://"
            )
        if model is not None and not _MODEL_NAME.match(model):
            raise InputError(f"model name {model!r} may hold a-z, 0-9, '.', '_' and '-' only, at most 64 characters")
        FeatureSet.named(str(rest.get("features", "base")))
        parsed = tuple(dict.fromkeys(parse_symbol(symbol) for symbol in symbols)) if symbols else None
        try:
            return cls.model_validate(
                {
                    "source": source,
                    "symbols": parsed,
                    "timeframe": Timeframe.parse(timeframe).text,
                    "model": model,
                    **rest,
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})") from error

    @property
    def source_kind(self) -> str:
        """`files`, `simulated`, or the name of an exchange."""
        return self.source.partition(":")[0]

    @property
    def is_live(self) -> bool:
        """Whether the data come from a venue that goes on trading."""
        return self.source_kind not in {"files", "simulated"}

    @property
    def files_path(self) -> Path:
        """The path of a `files:` source."""
        return Path(self.source.removeprefix("files:")).expanduser()

    @property
    def model_name(self) -> str:
        """Name in the registry: as asked for, or from source, timeframe, horizon and feature set."""
        suffix = "" if self.horizon == 1 else f"-h{self.horizon}"
        suffix += "" if self.features == "base" else f"-{self.features}"
        return self.model or f"{self.source_kind}-{self.timeframe}{suffix}"

    @property
    def market(self) -> str:
        """What the data are of: `files`, a venue, or the simulated market by its seed and signal."""
        if self.is_live:
            return parse_venue_source(self.source).name
        if self.source_kind == "files":
            return "files"
        config = SimulatedMarketConfig.from_url(self.source)
        return f"simulated, seed {config.seed}, signal {config.strength:g}"

    def feature_view(self, schema_hash: str, window: int) -> str:
        """Name under which serving finds the windows that a model of this request needs."""
        return f"{self.model_name}-{schema_hash[:8]}-w{window}"


class TrainingRef(_Frozen):
    """A finished walk-forward: where its files lie, and its figures."""

    uri: str
    run_id: str
    recipe: dict[str, JsonValue]
    train_end_ns: int
    validation: ValidationResult

    @property
    def folder(self) -> Path:
        """Folder with the predictions and each fold's checkpoint."""
        return Path(self.uri)


class CandidateRef(_Frozen):
    """The exported candidate: where its files lie, and how the artefact behaves in a process like the server's.

    `digest` is the SHA-256 of its model.onnx; `latency` is None where it did not answer.
    """

    uri: str
    digest: str
    size_bytes: int
    parity_max_abs_diff: float
    n_parity_windows: int
    latency: LatencyReport | None
    infra: InfraReport

    @property
    def folder(self) -> Path:
        """Folder with model.onnx, model.pt and golden.json."""
        return Path(self.uri)


class RolloutSummary(_Frozen):
    """What the rollout did: promote, hold, rollback, or none; and what is in production after it."""

    verdict: str
    reason: str
    production_version: str | None


class DatasetSummary(_Frozen):
    """The dataset a turn used."""

    digest: str
    source: str
    symbols: tuple[str, ...]
    n_rows: int
    n_quarantined: int
    start_ns: int
    end_ns: int


class AnsweredPrediction(_Frozen):
    """The prediction that the model server answered over HTTP at the end of the turn."""

    symbol: str
    model: str
    version: str
    p_up: float
    direction: str
    advice: str
    as_of: str | None
    round_trip_ms: float


class TurnReport(_Frozen):
    """Everything a person wants to see of one turn."""

    request: RetrainRequest
    model_name: str
    version: str
    run_id: str
    dataset: DatasetSummary
    validation: ValidationResult
    gate: GateReport
    candidate: CandidateRef
    rollout: RolloutSummary
    prediction: AnsweredPrediction | None = None
    elapsed_s: float | None = None

    @property
    def remarks(self) -> list[str]:
        """What decides nothing and should be seen all the same."""
        pooled = self.validation.pooled
        worse = [(name, gain) for name, gain in pooled.gain_over.items() if gain.high < 0.0]
        return [
            f"over all folds the network is significantly worse than {name.replace('_', ' ')}: "
            f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
            for name, gain in worse
        ]
