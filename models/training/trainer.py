"""Training: one model from one set of training samples, resumable after any interruption."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.data import FloatArray, IntArray, limited_threads, probabilities, refuse_non_finite, split_by_time
from models.factory import describe_model
from models.training.checkpoint import EpochMetrics, load_checkpoint, save_checkpoint
from models.training.recipes import TrainRecipe
from models.training.run import TrainedModel, TrainingRun
from ratchet.data.atomic import write_bytes
from ratchet.errors import ArtifactError, InputError
from ratchet.evaluation.walk_forward import Fold, refuse_leakage
from ratchet.features.panel import Panel

OnEpoch = Callable[[EpochMetrics], None]

# What torch.load and load_state_dict raise on files that are not what they should be.
_UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError)


class Trainer:
    """Fits a recipe's network on samples of a panel.

    The later part of the samples, by time and purged of overlapping labels, decides when to stop, which epoch's
    averaged weights are kept, and how sure the probabilities may be. With a `checkpoint_folder` the state is stored
    after every epoch, and a later call with the same data and recipe goes on from there, to the same weights, bit by
    bit, as an uninterrupted run. `on_epoch` is called after every trained epoch, when its checkpoint is on disk.

    Torch's generator belongs to the process, so fit models side by side in processes, not in threads.
    """

    def __init__(
        self, recipe: TrainRecipe, checkpoint_folder: Path | None = None, on_epoch: OnEpoch | None = None
    ) -> None:
        self.recipe = recipe
        self.checkpoint_folder = checkpoint_folder
        self.on_epoch = on_epoch

    def fit(self, panel: Panel, train: IntArray) -> TrainedModel:
        """Train on samples `train` of the panel; no other sample is looked at.

        Torch's generator and number of threads are put back before the call returns.

        Raises:
            InputError: the panel's window is not the recipe's, a window is not finite, or there is too little history.
            ArtifactError: the checkpoint folder holds this run's checkpoint, but altered.
        """
        if panel.window != self.recipe.window:
            raise InputError(f"the panel's windows have {panel.window} bars, the recipe needs {self.recipe.window}")
        refuse_non_finite(panel, train)
        split = split_by_time(panel, train, self.recipe.validation_share)
        with limited_threads(self.recipe.n_threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            run = TrainingRun(self.recipe, panel, split)
            self._train(run, _fingerprint(run, train))
            return run.finish(int(panel.t1_ns[train].max()))

    def _train(self, run: TrainingRun, fingerprint: str) -> None:
        folder = self.checkpoint_folder
        if folder is not None:
            load_checkpoint(folder, run.state, fingerprint)
        while not run.is_finished:
            metrics = run.train_epoch()
            if folder is not None:
                save_checkpoint(folder, run.state, fingerprint)
            if self.on_epoch is not None:
                self.on_epoch(metrics)


def fit_fold(
    panel: Panel, fold: Fold, recipe: TrainRecipe, folder: Path | None = None, on_epoch: OnEpoch | None = None
) -> TrainedModel:
    """Train on a fold's training samples, with checkpoints in `folder`; a finished run is only loaded.

    Raises:
        LeakageError: a training label ends after the fold's first test decision.
        InputError: see `Trainer.fit`.
        ArtifactError: see `Trainer.fit`.
    """
    refuse_leakage(fold, panel.decision_ns, panel.t1_ns)
    return Trainer(recipe, folder, on_epoch).fit(panel, fold.train)


def predict(model: TrainedModel, panel: Panel, index: IntArray) -> FloatArray:
    """Return P(up | not flat) of samples `index`, float64 (index,), from their windows alone.

    Raises:
        InputError: a window is not finite.
    """
    with limited_threads(model.recipe.n_threads):
        return probabilities(model.model, panel, index)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict, atomically, as `torch.save` does; `load_weights` reads it without unpickling code."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_bytes(path, buffer.getvalue())


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Read a state dict into a network of the same shape, with `weights_only=True`; return it in evaluation mode.

    Raises:
        ArtifactError: the file is missing, is not a state dict, or belongs to a network of another shape.
    """
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"weights {path} do not load into this network: {reason}") from error
    return model.eval()


def _fingerprint(run: TrainingRun, train: IntArray) -> str:
    """Hash everything that decides the result: recipe, network, schema, samples, features, labels and times."""
    panel = run.panel
    plain = [asdict(run.recipe), describe_model(run.state.network), panel.schema_hash]
    state = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for array in (train, panel.features, panel.end_row, panel.label, panel.ts_ns, panel.t1_ns):
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()
