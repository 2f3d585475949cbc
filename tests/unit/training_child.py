"""A training run in a process of its own, to be killed: `python -m tests.unit.training_child FOLDER`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from models.training.checkpoint import EpochMetrics
from models.training.recipes import TrainRecipe
from models.training.trainer import Trainer
from ratchet.features.panel import Panel
from tests.panels import FloatArray, panel_of_returns

WINDOW = 8
RECIPE = TrainRecipe(
    network_options={"conv_channels": 8, "lstm_hidden": 12, "head": 16, "dropout": 0.1},
    window=WINDOW,
    epochs=8,
    batch_size=64,
    seed=5,
)


def planted_panel(
    n_bars: int = 900, *, n_symbols: int = 3, strength: float = 1.0, seed: int = 11
) -> tuple[Panel, FloatArray]:
    """A panel of raw features in odd units, and the true P(up) of its samples.

    The drift of the next bar hangs on feature 0 of the newest bar and on feature 1 three bars before it.
    """
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(n_symbols, n_bars, 6))
    drift = np.zeros((n_symbols, n_bars))
    drift[:, 4:] = strength * (signals[:, 3:-1, 0] - signals[:, :-4, 1])
    returns = 0.004 * (drift + rng.normal(size=drift.shape))
    features = 1e3 + signals * np.array([50.0, 1.0, 7.0, 0.1, 3.0, 900.0])
    panel = replace(panel_of_returns(returns, features, horizon=1, warm_up=WINDOW - 1), window=WINDOW)
    bar = panel.end_row % n_bars
    p_up: FloatArray = ndtr(drift[panel.symbol_id, bar + 1])
    return panel, p_up


def _wait_a_little(_: EpochMetrics) -> None:
    time.sleep(0.2)


def main() -> None:
    """Train slowly enough to be caught between epochs and within them."""
    panel, _ = planted_panel()
    Trainer(RECIPE, Path(sys.argv[1]), _wait_a_little).fit(panel, np.arange(1_500))


if __name__ == "__main__":
    main()
