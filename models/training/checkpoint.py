"""Training state on disk: one file of tensors (safetensors) and one JSON file that makes it count.

The tensors of epoch n are written first, under a name of their own; then `checkpoint.json`, which names that file and
its SHA-256, is replaced in one step; only then is the file of epoch n-1 removed. A process killed anywhere in between
leaves the old checkpoint or the new one, both whole. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of_bytes
from safetensors.torch import save as bytes_of_tensors
from torch import Tensor

from models.layers import DirectionNetwork
from ratchet.data.atomic import sha256_bytes, write_bytes, write_json
from ratchet.errors import ArtifactError

INDEX_NAME = "checkpoint.json"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class EpochMetrics(BaseModel):
    """One epoch: losses are mean cross-entropies (nats), accuracy a share; validation is of the averaged weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float


@dataclass(slots=True, eq=False)
class TrainingState:
    """All that decides how training goes on; `best` holds the averaged weights of the best epoch so far."""

    network: DirectionNetwork
    averaged: DirectionNetwork
    optimizer: torch.optim.AdamW
    best: dict[str, Tensor]
    history: list[EpochMetrics]

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, -1 before the first one."""
        return min(self.history, key=lambda metrics: metrics.validation_loss).epoch if self.history else -1


class _Index(BaseModel):
    """What `checkpoint.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    file: str
    sha256: str
    history: tuple[EpochMetrics, ...]


def save_checkpoint(folder: Path, state: TrainingState, fingerprint: str) -> None:
    """Store the state after an epoch, with torch's random generator, and remove what an earlier epoch left.

    `fingerprint` identifies the run (data, samples, recipe). One process at a time may write to a folder.
    """
    content = bytes_of_tensors(_tensors_of(state))
    path = folder / f"epoch-{len(state.history):04d}.safetensors"
    write_bytes(path, content)
    index = _Index(fingerprint=fingerprint, file=path.name, sha256=sha256_bytes(content), history=tuple(state.history))
    write_json(folder / INDEX_NAME, index.model_dump(mode="json"))
    for other in (*folder.glob("epoch-*.safetensors"), *folder.glob(".*.tmp")):
        if other != path:
            other.unlink(missing_ok=True)


def load_checkpoint(folder: Path, state: TrainingState, fingerprint: str) -> bool:
    """Put a stored state into `state` and into torch's random generator; tell whether there was one of this run.

    A checkpoint of another run is left alone; the next `save_checkpoint` replaces it.

    Raises:
        ArtifactError: the checkpoint was altered, or does not fit the network.
    """
    index = _read_index(folder)
    if index is None or index.fingerprint != fingerprint:
        return False
    try:
        content = (folder / index.file).read_bytes()
        if sha256_bytes(content) != index.sha256:
            raise ArtifactError(f"checkpoint {folder / index.file} was altered; delete {folder} to train anew")
        _restore(state, tensors_of_bytes(content))
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"checkpoint in {folder} cannot be read ({error}); delete it to train anew") from error
    state.history[:] = index.history
    return True


def _read_index(folder: Path) -> _Index | None:
    try:
        return _Index.model_validate_json((folder / INDEX_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{folder / INDEX_NAME} cannot be read; delete {folder} to train anew") from error


def _tensors_of(state: TrainingState) -> dict[str, Tensor]:
    """Flatten the state; names are `network.*`, `averaged.*`, `best.*`, `optimizer.*` and `rng`."""
    return {
        **_prefixed("network", state.network.state_dict()),
        **_prefixed("averaged", state.averaged.state_dict()),
        **_prefixed("best", state.best),
        **{name: moments[kind] for name, moments, kind in _moments(state)},
        "rng": torch.get_rng_state(),
    }


def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    state.network.load_state_dict(_under("network", tensors))
    state.averaged.load_state_dict(_under("averaged", tensors))
    state.best = _under("best", tensors)
    for name, moments, kind in _moments(state):
        moments[kind] = tensors[name].clone()
    torch.set_rng_state(tensors["rng"])


def _moments(state: TrainingState) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the optimizer's per-parameter tensors as (name, where it is kept, key)."""
    parameters = (parameter for group in state.optimizer.param_groups for parameter in group["params"])
    for index, parameter in enumerate(parameters):
        for kind in _MOMENTS:
            yield f"optimizer.{index}.{kind}", state.optimizer.state[parameter], kind


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
