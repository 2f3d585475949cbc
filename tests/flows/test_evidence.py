"""How a training becomes evidence: trials counted once each, and a leak that reaches the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.turn import RetrainRequest, TrainingRef
from ratchet.settings import Settings
from tasks.evidence import _count_trial
from tests.panels import rival_predictions
from tests.unit.evaluations import evaluated

VALIDATION = evaluated().validation
ROWS, _ = rival_predictions((0.2, 0.1), n_times=600, horizon=1, seed=1, n_symbols=2)


def training(folder: Path, name: str) -> TrainingRef:
    return TrainingRef(uri=str(folder / name), run_id="r", recipe={}, train_end_ns=0, validation=VALIDATION)


@pytest.mark.parametrize("kind", ["retrain", "validation"])
def test_each_training_of_a_model_is_one_trial(tmp_path: Path, kind: str) -> None:
    """Other data or another recipe count; the same training again, after a crash, does not; models are told apart."""
    settings, policy = Settings(home=tmp_path), GatePolicy()
    requests = {name: RetrainRequest(model=name) for name in ("btc", "eth")}

    def count(model: str, name: str) -> int:
        ref = training(tmp_path, name)
        return _count_trial(settings, policy, ref, requests[model], ROWS, kind).n_trials  # type: ignore[arg-type]

    assert [count("btc", name) for name in ("monday", "tuesday", "monday", "wednesday")] == [1, 2, 2, 3]
    assert count("eth", "monday") == 1


def test_a_lucky_trial_is_worth_less_the_more_were_tried(tmp_path: Path) -> None:
    """The deflated Sharpe ratio of the same predictions falls with the trials that were counted before."""
    settings, policy, request = Settings(home=tmp_path), GatePolicy(), RetrainRequest(model="btc")
    rng = np.random.default_rng(3)
    first = _count_trial(settings, policy, training(tmp_path, "first"), request, ROWS, "retrain")
    for index in range(20):
        other = ROWS.with_p_up(rng.uniform(0.3, 0.7, len(ROWS)))
        _count_trial(settings, policy, training(tmp_path, f"try {index}"), request, other, "tuning")
    last = _count_trial(settings, policy, training(tmp_path, "first"), request, ROWS, "retrain")
    assert (first.n_trials, last.n_trials) == (1, 21)
    assert first.deflated_sharpe is not None
    assert last.deflated_sharpe is not None
    assert last.deflated_sharpe < first.deflated_sharpe
    assert last.expected_best_sharpe > 0
