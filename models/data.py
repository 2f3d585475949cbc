"""A panel's windows as tensors, and the split of a training set into a fitting and a validation part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ratchet.errors import InputError
from ratchet.features.panel import Panel

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

PREDICTION_BATCH = 1024


class WindowSource:
    """Gathers windows as tensors, batch by batch, from a panel that is not copied."""

    def __init__(self, panel: Panel) -> None:
        self._features = torch.from_numpy(np.require(panel.features, np.float32, ["C", "W"]))
        self._end_row = torch.from_numpy(np.require(panel.end_row, np.int64, ["C", "W"]))
        self._offsets = torch.arange(1 - panel.window, 1)
        self._is_up = torch.from_numpy((panel.label > 0).astype(np.float32))

    def windows(self, index: Tensor) -> Tensor:
        """Return the windows of samples `index`, float32 (batch, time, feature), oldest bar first."""
        rows = self._end_row[index][:, None] + self._offsets  # (batch, time)
        flat = self._features.index_select(0, rows.flatten())  # (batch * time, feature)
        return flat.view(*rows.shape, -1)  # (batch, time, feature)

    def last_rows(self, index: Tensor) -> Tensor:
        """Return the features of the decision bars of samples `index`, float32 (batch, feature)."""
        return self._features[self._end_row[index]]

    def is_up(self, index: Tensor) -> Tensor:
        """Return 1 where the label is up, else 0, float32 (batch,); meaningless for flat samples."""
        return self._is_up[index]


@dataclass(frozen=True, slots=True, eq=False)
class InnerSplit:
    """Samples to fit on and later ones to stop and calibrate on, int64 positions in the panel; none is flat."""

    fit: IntArray
    validation: IntArray


def split_by_time(panel: Panel, train: IntArray, validation_share: float) -> InnerSplit:
    """Keep the last `validation_share` of the decision times for validation; purge fits whose label ends later.

    Raises:
        InputError: either part would be empty of samples that moved beyond the cost band.
    """
    decision_ns = panel.decision_ns
    times = np.unique(decision_ns[train])
    moved = train[panel.label[train] != 0]
    n_fit_times = int(len(times) * (1.0 - validation_share))
    if not 0 < n_fit_times < len(times):
        raise InputError(f"{len(times)} decision times cannot be split for validation; give a longer history")
    start_ns = times[n_fit_times]
    split = InnerSplit(
        fit=moved[panel.t1_ns[moved] <= start_ns],
        validation=moved[decision_ns[moved] >= start_ns],
    )
    if not len(split.fit) or not len(split.validation):
        raise InputError(
            f"of {len(train)} training samples {len(split.fit)} are left to fit on and {len(split.validation)} to "
            "validate on, after flat moves and overlapping labels are taken out; give a longer history or lower costs"
        )
    return split


def refuse_non_finite(panel: Panel, index: IntArray) -> None:
    """Check that every window of samples `index` is finite.

    Raises:
        InputError: one is not; the message counts them and names the first one's symbol and time.
    """
    is_bad = ~np.isfinite(panel.features).all(axis=1)
    n_bad_before = np.concatenate([[0], np.cumsum(is_bad)])  # (row + 1,)
    ends = panel.end_row[index] + 1
    bad = index[n_bad_before[ends] > n_bad_before[ends - panel.window]]
    if len(bad):
        first = bad[0]
        raise InputError(
            f"{len(bad)} windows hold features that are not finite, the first that of "
            f"{panel.symbols[panel.symbol_id[first]]} at ts_ns {panel.ts_ns[first]}; build the panel again"
        )


def probabilities(network: nn.Module, panel: Panel, index: IntArray) -> FloatArray:
    """Return P(up | not flat) of samples `index`, float64 (index,); the network is put into evaluation mode.

    Raises:
        InputError: a window is not finite.
    """
    refuse_non_finite(panel, index)
    return torch.sigmoid(logits_of(network, WindowSource(panel), torch.from_numpy(index)).double()).numpy()


@contextlib.contextmanager
def limited_threads(n_threads: int) -> Iterator[None]:
    """Let torch use `n_threads` threads, and put the number back afterwards."""
    previous = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def logits_of(network: nn.Module, source: WindowSource, index: Tensor) -> Tensor:
    """Return the logits of samples `index`, float32 (index,), in evaluation mode and without gradients."""
    network.eval()
    with torch.inference_mode():
        parts = [network(source.windows(batch)) for batch in torch.split(index, PREDICTION_BATCH)]
    return torch.cat(parts) if parts else torch.empty(0)
