"""Complete training recipes. Imports no torch, so that whoever only needs a recipe's numbers does not pay for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ratchet.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """Everything that decides a training run but the data; plain values, so `dataclasses.asdict` is JSON-ready.

    Attributes:
        network: name in `models.factory`; `network_options` are fields of its configuration.
        window: bars per window; the panel must have been built with it.
        epochs: passes over the fitting samples at most; the learning rate's schedule is laid out for all of them.
        batch_size: samples per step, about: an epoch is cut into equal batches.
        min_steps: steps per epoch at least, by smaller batches, so that a short history is not under-trained.
        learning_rate: the peak, reached after `warmup_share` of all steps and annealed to zero by a cosine.
        weight_decay: decoupled (AdamW), on weight matrices only.
        patience: epochs without a better validation loss before training stops.
        validation_share: share of the training times, the latest, that is kept for stopping and calibration.
        label_smoothing: how far targets are moved from 0 and 1 towards one half.
        focal_gamma: above 0, samples that are already right weigh less (focal loss).
        balance_classes: give ups and downs the same total weight.
        average_decay: decay per step of the moving average of weights, which is what is validated and kept.
        clip_norm: largest norm of a gradient step.
        seed: of initial weights, order of samples and dropout.
        n_threads: torch threads while training; only equal numbers give bitwise equal weights. Networks this small gain
            little from a second thread, and lose much by it on a busy machine; run folds side by side instead.
    """

    network: str = "hybrid_cnn_lstm"
    network_options: Mapping[str, int | float] = field(default_factory=dict)
    window: int = 32
    epochs: int = 8
    batch_size: int = 256
    min_steps: int = 20
    learning_rate: float = 8e-3
    warmup_share: float = 0.2
    weight_decay: float = 1.0
    patience: int = 3
    validation_share: float = 0.15
    label_smoothing: float = 0.05
    focal_gamma: float = 0.0
    balance_classes: bool = False
    average_decay: float = 0.98
    clip_norm: float = 1.0
    seed: int = 7
    n_threads: int = 1

    def __post_init__(self) -> None:
        checks = {
            "window, epochs, batch_size, min_steps, patience and n_threads must be at least 1": min(
                self.window, self.epochs, self.batch_size, self.min_steps, self.patience, self.n_threads
            )
            >= 1,
            "learning_rate and clip_norm must be positive": min(self.learning_rate, self.clip_norm) > 0,
            "weight_decay and focal_gamma must not be negative": min(self.weight_decay, self.focal_gamma) >= 0,
            "validation_share must lie between 0 and 1": 0 < self.validation_share < 1,
            "warmup_share, label_smoothing and average_decay must be from 0 to below 1": all(
                0 <= share < 1 for share in (self.warmup_share, self.label_smoothing, self.average_decay)
            ),
        }
        for rule, holds in checks.items():
            if not holds:
                raise ConfigurationError(f"training recipe: {rule}")


def small() -> TrainRecipe:
    """Return the default: some ten seconds per fold of 20,000 samples on one core."""
    return TrainRecipe(network_options={"conv_channels": 24, "conv_blocks": 2, "lstm_hidden": 32, "head": 48})


def standard() -> TrainRecipe:
    """Return the recipe for long histories and nightly runs: a wider network, more and smaller steps."""
    return TrainRecipe(
        network_options={"conv_channels": 64, "conv_blocks": 3, "lstm_hidden": 96, "head": 96},
        window=64,
        epochs=20,
        learning_rate=4e-3,
        patience=5,
        average_decay=0.99,
    )


RECIPES: Mapping[str, Callable[[], TrainRecipe]] = {"small": small, "standard": standard}
"""Every recipe by name."""


def recipe_by_name(name: str) -> TrainRecipe:
    """Return the recipe called `name`.

    Raises:
        ConfigurationError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise ConfigurationError(f"no recipe {name!r}; there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
