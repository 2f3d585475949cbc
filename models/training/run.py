"""One training run in progress: the epochs, and the model that comes out of them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.data import InnerSplit, IntArray, WindowSource, logits_of
from models.factory import create_model
from models.layers import DirectionNetwork
from models.training.checkpoint import EpochMetrics, TrainingState
from models.training.losses import direction_loss, fit_temperature
from models.training.optimizer import adamw, average_weights, learning_rate
from models.training.recipes import TrainRecipe
from ratchet.errors import CandidateRejectedError
from ratchet.evaluation.metrics import accuracy
from ratchet.features.panel import Panel


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A calibrated network in evaluation mode, and how it came about.

    `train_accuracy` and `validation_accuracy` are shares of correct directions among the moves of the fitting and of
    the inner validation part; `train_end_ns` is when the last label that training saw had ended, ns UTC.
    """

    model: DirectionNetwork
    recipe: TrainRecipe
    best_epoch: int
    history: tuple[EpochMetrics, ...]
    train_accuracy: float
    validation_accuracy: float
    temperature: float
    train_end_ns: int


class TrainingRun:
    """One training run in progress."""

    def __init__(self, recipe: TrainRecipe, panel: Panel, split: InnerSplit) -> None:
        self.recipe, self.panel, self.split = recipe, panel, split
        self.source = WindowSource(panel)
        self.fit_index = torch.from_numpy(split.fit)
        self.validation_index = torch.from_numpy(split.validation)
        self.n_batches = min(len(split.fit), max(recipe.min_steps, round(len(split.fit) / recipe.batch_size)))
        self.up_weight = _up_weight(panel, split) if recipe.balance_classes else 1.0
        self.state = self._fresh_state()

    @property
    def is_finished(self) -> bool:
        """Whether the epochs are used up, or the last `patience` of them brought nothing."""
        n_done = len(self.state.history)
        n_idle = n_done - 1 - self.state.best_epoch
        return n_done >= self.recipe.epochs or n_idle >= self.recipe.patience

    def train_epoch(self) -> EpochMetrics:
        """Take one pass over the fitting samples, judge the averaged weights, and keep them if they are the best."""
        state, epoch = self.state, len(self.state.history)
        state.network.train()
        order = self.fit_index[torch.randperm(len(self.fit_index))]
        total = 0.0
        for position, batch in enumerate(order.tensor_split(self.n_batches)):
            total += self._step(batch, epoch * self.n_batches + position) * len(batch)
        metrics = self._judge(epoch, total / len(order))
        state.history.append(metrics)
        if state.best_epoch == epoch:
            state.best = copy.deepcopy(state.averaged.state_dict())
        return metrics

    def _judge(self, epoch: int, train_loss: float) -> EpochMetrics:
        """Score the averaged weights on the validation part.

        Raises:
            CandidateRejectedError: the loss is not finite any more.
        """
        logits, is_up = self._validate()
        validation_loss = float(direction_loss(logits, is_up))
        if not math.isfinite(train_loss + validation_loss):
            raise CandidateRejectedError(
                f"training diverged in epoch {epoch}: loss {train_loss}, in validation {validation_loss}; "
                "lower the recipe's learning_rate"
            )
        return EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_accuracy=self._accuracy(self.split.validation),
            learning_rate=float(self.state.optimizer.param_groups[0]["lr"]),
        )

    def finish(self, train_end_ns: int) -> TrainedModel:
        """Return the best epoch's averaged weights, calibrated on the validation part."""
        state = self.state
        state.averaged.load_state_dict(state.best)
        temperature = fit_temperature(*self._validate())
        state.averaged.calibrate(temperature)
        return TrainedModel(
            model=state.averaged.eval(),
            recipe=self.recipe,
            best_epoch=state.best_epoch,
            history=tuple(state.history),
            train_accuracy=self._accuracy(self.split.fit),
            validation_accuracy=self._accuracy(self.split.validation),
            temperature=temperature,
            train_end_ns=train_end_ns,
        )

    def _fresh_state(self) -> TrainingState:
        recipe = self.recipe
        network = create_model(
            recipe.network,
            n_features=len(self.panel.feature_names),
            window=recipe.window,
            **recipe.network_options,
        )
        network.standardize.fit(self.source.last_rows(self.fit_index))
        return TrainingState(
            network=network,
            averaged=copy.deepcopy(network),
            optimizer=adamw(network, recipe.weight_decay),
            best={},
            history=[],
        )

    def _step(self, batch: Tensor, step: int) -> float:
        """Take one step of the optimizer and of the moving average; return the loss."""
        recipe, state = self.recipe, self.state
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, recipe.epochs * self.n_batches)
        logits = state.network(self.source.windows(batch))
        loss = direction_loss(
            logits,
            self.source.is_up(batch),
            smoothing=recipe.label_smoothing,
            focal_gamma=recipe.focal_gamma,
            up_weight=self.up_weight,
        )
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip_norm)
        state.optimizer.step()
        average_weights(state.averaged, state.network, step, recipe.average_decay)
        return float(loss.detach())

    def _validate(self) -> tuple[Tensor, Tensor]:
        """Return the averaged weights' logits of the validation part, and the outcomes."""
        logits = logits_of(self.state.averaged, self.source, self.validation_index)
        return logits, self.source.is_up(self.validation_index)

    def _accuracy(self, index: IntArray) -> float:
        p_up = torch.sigmoid(logits_of(self.state.averaged, self.source, torch.from_numpy(index))).double().numpy()
        return accuracy(self.panel.label[index], p_up)


def _up_weight(panel: Panel, split: InnerSplit) -> float:
    n_up = int(np.count_nonzero(panel.label[split.fit] > 0))
    return (len(split.fit) - n_up) / max(n_up, 1)
