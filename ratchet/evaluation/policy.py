"""The gate's policy: what a challenger has to show, as a declaration that a team keeps beside its code."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ratchet.errors import ConfigurationError
from ratchet.evaluation.baselines import BASELINES

Demand = Literal["better", "not_worse"]
SliceKind = Literal["symbol", "volatility", "trend", "hour"]


class GatePolicy(BaseModel):
    """What a challenger has to show; every field has the owner's criterion or the field's convention as its default.

    `policy` says how the accuracy gain is proven: `point` by the estimate alone (this approves noise), `significant` by
    the estimate and a one-sided test against no gain, `strict` by a lower bound that reaches the needed gain; `strict`
    also asks for the bound of the Sharpe difference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["point", "significant", "strict"] = "significant"
    min_accuracy_gain: float = Field(0.02, ge=0, lt=1, description="Gain over the champion, share of moves.")
    accuracy_gain_unit: Literal["points", "relative"] = Field(
        "points", description="`relative` multiplies the gain with the champion's accuracy."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Level of every one-sided test and bound.")
    sharpe_tolerance: float = Field(0.1, ge=0, description="A Sharpe ratio short by less is undecided, not failed.")
    max_sharpe_shortfall: float = Field(
        0.5, ge=0, description="`strict`: the lower bound of the Sharpe difference must lie above minus this, a year."
    )
    max_latency_p99_ms: float = Field(5.0, gt=0, description="The 99th percentile must be proven to lie below.")
    max_train_gap: float = Field(0.05, gt=0, lt=1, description="Training minus out-of-sample accuracy, share.")
    min_edge: float = Field(0.0, ge=0, lt=0.5, description="Least |p_up - 0.5| that the Sharpe ratio trades.")
    min_blocks: int = Field(10, ge=2, description="Fewer independent stretches of time decide nothing.")
    n_resamples: int = Field(2000, ge=100, description="Bootstrap resamples.")
    baselines: dict[str, Demand] = Field(
        default={
            "majority": "better",
            "last_sign": "better",
            "logistic": "not_worse",
            "gradient_boosting": "not_worse",
        },
        description="What is asked of the challenger against each baseline, over all folds.",
    )
    baseline_margin: float = Field(
        0.02, ge=0, lt=0.5, description="`not_worse`: the accuracy may be short of the baseline by less than this."
    )
    slices: tuple[SliceKind, ...] = Field(
        ("symbol", "volatility"), description="Kinds of slices in none of which the challenger may lose."
    )
    max_slice_loss: float = Field(
        0.03, ge=0, lt=1, description="A slice is lost where accuracy falls by more, and significantly."
    )
    require_probes: bool = Field(True, description="The leak probes must have run and found nothing.")
    require_infra_check: bool = Field(True, description="The artifact must load and answer in the server's process.")
    min_deflated_sharpe: float | None = Field(
        None, ge=0, le=1, description="Least deflated Sharpe ratio over all trials; unset: reported only."
    )
    max_pbo: float | None = Field(
        None, ge=0, le=1, description="Largest probability of backtest overfitting; unset: reported only."
    )

    @model_validator(mode="after")
    def _knows_its_baselines(self) -> Self:
        unknown = sorted(set(self.baselines) - set(BASELINES))
        if unknown:
            raise ValueError(f"no baseline {', '.join(unknown)}; there are {', '.join(BASELINES)}")
        return self


def load_policy(path: Path | None) -> GatePolicy:
    """Read a policy from a TOML file whose keys are the fields of `GatePolicy`; None means the defaults.

    Raises:
        ConfigurationError: the file is missing, is no TOML, or holds an unknown key or a wrong value.
    """
    if path is None:
        return GatePolicy()
    try:
        return GatePolicy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"gate policy {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigurationError(f"gate policy {path}: {where}: {first['msg']}") from error
    except ValueError as error:  # what tomllib and the decoder raise
        raise ConfigurationError(f"gate policy {path}: not TOML: {error}") from error
