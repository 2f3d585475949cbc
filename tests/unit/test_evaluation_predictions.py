"""Predictions are kept, read back, joined and compared row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ratchet.errors import ArtifactError, CandidateRejectedError, InputError
from ratchet.evaluation.predictions import (
    Predictions,
    checked_probabilities,
    concatenate,
    load_predictions,
    predictions_of,
    require_same_rows,
    save_predictions,
)
from tests.panels import rival_predictions, signal_panel, with_baselines

MODEL, RIVAL = rival_predictions((0.2, 0.1), n_times=40, horizon=3, seed=0, n_symbols=2)


def same(first: Predictions, second: Predictions) -> bool:
    return first.digest == second.digest


def test_a_file_of_predictions_reads_back_as_it_was(tmp_path: Path) -> None:
    """Every column, the baselines, timeframe and horizon survive the round trip, and saving twice gives equal bytes."""
    predictions = with_baselines(MODEL)
    first = save_predictions(tmp_path / "a.parquet", predictions)
    again = save_predictions(tmp_path / "b.parquet", predictions)
    loaded = load_predictions(tmp_path / "a.parquet")

    assert first == again
    assert same(loaded, predictions)
    assert (loaded.timeframe, loaded.horizon, sorted(loaded.baselines)) == ("1h", 3, ["last_sign", "majority"])


def test_a_missing_a_damaged_and_a_foreign_file_are_told_apart_from_predictions(tmp_path: Path) -> None:
    """Whatever is not a file of predictions is an ArtifactError that names the path."""
    path = tmp_path / "p.parquet"
    with pytest.raises(ArtifactError, match=r"p\.parquet"):
        load_predictions(path)
    save_predictions(path, MODEL)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"p\.parquet"):
        load_predictions(path)


def test_any_change_of_a_value_changes_the_digest() -> None:
    """The digest covers probabilities, labels, symbols and horizon."""
    p_up = MODEL.p_up.copy()
    p_up[7] = np.nextafter(p_up[7], 1.0)
    others = [
        MODEL.with_p_up(p_up),
        replace(MODEL, label=-MODEL.label),
        replace(MODEL, symbol=MODEL.symbol[::-1].copy()),
        replace(MODEL, horizon=4),
    ]

    assert all(not same(MODEL, other) for other in others)


def test_a_panel_s_rows_carry_symbol_outcome_and_bar_return() -> None:
    """The predictions of some samples hold what the panel says about these samples."""
    panel = signal_panel(n_symbols=2, n_bars=50)
    index = np.array([3, 10, 17])
    rows = predictions_of(panel, index, np.array([0.1, 0.5, 0.9]), fold=2)

    assert rows.symbol.tolist() == [panel.symbols[i] for i in panel.symbol_id[index]]
    assert rows.decision_ns.tolist() == panel.decision_ns[index].tolist()
    assert rows.bar_return.tolist() == panel.last_return[index].tolist()
    assert rows.fold.tolist() == [2, 2, 2]


@pytest.mark.parametrize("answer", [[0.5, np.nan], [0.5, 1.5], [0.5, -0.1], [0.5], [[0.5, 0.5]]])
def test_answers_that_are_not_one_probability_per_row_are_refused(answer: list[float]) -> None:
    """NaN, values outside [0, 1] and a wrong number of answers reject the candidate."""
    with pytest.raises(CandidateRejectedError):
        checked_probabilities(np.array(answer), 2)


def test_joined_folds_are_sorted_by_time_and_symbol() -> None:
    """The order of the parts does not matter, and different horizons do not mix."""
    early, late = MODEL.take(np.arange(30)), MODEL.take(np.arange(30, 80))

    assert same(concatenate([late, early]), MODEL)
    with pytest.raises(InputError, match="horizons"):
        concatenate([early, replace(late, horizon=4)])
    with pytest.raises(InputError, match="no predictions"):
        concatenate([])


def test_rows_with_other_labels_or_times_are_not_the_same_rows() -> None:
    """A comparison on different rows or outcomes is refused."""
    require_same_rows(MODEL, RIVAL)
    for other in (RIVAL.take(np.arange(79)), replace(RIVAL, label=-RIVAL.label), replace(RIVAL, horizon=1)):
        with pytest.raises(InputError, match="different rows"):
            require_same_rows(MODEL, other)
