"""The baselines learn from training samples only, and know what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ratchet.errors import InputError
from ratchet.evaluation.baselines import baseline_probabilities
from ratchet.evaluation.metrics import accuracy
from tests.panels import panel_of_returns, signal_panel, walk_returns

PANEL = signal_panel(n_symbols=2, n_bars=500, strength=1.0)
TRAIN = np.flatnonzero(PANEL.ts_ns < PANEL.ts_ns[600])
TEST = np.flatnonzero(PANEL.ts_ns >= PANEL.ts_ns[640])
NAMES = ["gradient_boosting", "last_sign", "logistic", "majority"]


def test_every_baseline_answers_a_probability_for_every_test_sample() -> None:
    """Four baselines, float64, one probability within [0, 1] per test sample."""
    answers = baseline_probabilities(PANEL, TRAIN, TEST)

    assert sorted(answers) == NAMES
    for p_up in answers.values():
        assert p_up.shape == TEST.shape
        assert p_up.dtype == np.float64
        assert np.all((p_up >= 0.0) & (p_up <= 1.0))


def test_nothing_outside_the_training_samples_is_learned() -> None:
    """New labels everywhere but in train, and new features of half the test, leave the other answers bit for bit."""
    kept, altered = TEST[::2], TEST[1::2]
    label = -PANEL.label
    label[TRAIN] = PANEL.label[TRAIN]
    features = PANEL.features.copy()
    features[PANEL.end_row[altered]] += 100.0
    last_return = PANEL.last_return.copy()
    last_return[altered] *= -1.0
    other = replace(PANEL, label=label, features=features, last_return=last_return)

    before, after = baseline_probabilities(PANEL, TRAIN, kept), baseline_probabilities(other, TRAIN, TEST)
    for name in NAMES:
        assert np.array_equal(before[name], after[name][::2])


def test_other_training_labels_change_every_baseline() -> None:
    """The baselines do learn: turning the training labels round changes all of them."""
    label = PANEL.label.copy()
    label[TRAIN] *= -1

    before = baseline_probabilities(PANEL, TRAIN, TEST)
    after = baseline_probabilities(replace(PANEL, label=label), TRAIN, TEST)
    assert all(not np.array_equal(before[name], after[name]) for name in NAMES)


def test_majority_answers_the_training_share_of_upward_moves() -> None:
    """Three of four training moves go up; flat samples do not count."""
    label = PANEL.label.copy()
    label[TRAIN] = np.resize(np.array([1, 1, 0, 1, -1], dtype=np.int8), len(TRAIN))
    answer = baseline_probabilities(replace(PANEL, label=label), TRAIN[:500], TEST)["majority"]

    assert set(answer.tolist()) == {0.75}


def test_last_sign_learns_that_moves_reverse() -> None:
    """In a market that mostly undoes its last bar, the rule predicts reversal and is right about 75 % of the time."""
    noise = walk_returns(1, 800, 0)
    returns = noise.copy()
    for bar in range(1, 800):
        returns[0, bar] -= 0.7 * 0.006 * np.sign(returns[0, bar - 1])
    panel = panel_of_returns(returns, np.zeros((1, 800, 1)), horizon=1)
    train, test = np.arange(400), np.arange(402, 799)
    answer = baseline_probabilities(panel, train, test)["last_sign"]

    assert np.all((answer > 0.5) == (panel.last_return[test] < 0))
    assert 0.70 < accuracy(panel.label[test], answer) < 0.82


def test_the_learned_baselines_find_a_planted_signal() -> None:
    """A feature that is right 84 % of the time is found; the naive rules see nothing of it."""
    answers = baseline_probabilities(PANEL, TRAIN, TEST)
    right = {name: accuracy(PANEL.label[TEST], p_up) for name, p_up in answers.items()}

    assert right["logistic"] > 0.78
    assert right["gradient_boosting"] > 0.78
    assert right["majority"] < 0.60
    assert right["last_sign"] < 0.60


def test_a_training_set_of_one_direction_falls_back_to_the_majority() -> None:
    """Where every move went up nothing else can be learned, and nothing breaks."""
    label = PANEL.label.copy()
    label[TRAIN] = 1
    answers = baseline_probabilities(replace(PANEL, label=label), TRAIN, TEST)

    assert all(set(p_up.tolist()) == {1.0} for p_up in answers.values())


def test_a_training_set_without_moves_is_refused() -> None:
    """If all training samples are flat there is nothing to fit."""
    with pytest.raises(InputError, match="none of 600 training samples moved"):
        baseline_probabilities(replace(PANEL, label=np.zeros_like(PANEL.label)), TRAIN, TEST)
