"""Keeps what predictions rested on, for the skew audit, at no risk to the predictions."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import RatchetError
from ratchet.features.audit.served_log import ServedLog, ServedVector
from serving.loader import LoadedModel

MAX_WAITING = 1_024
"""Samples that may wait to be written; the next one is dropped and counted."""

_WRITE_EVERY_S = 0.2
_MOST_AT_ONCE = 128  # a short transaction hands the interpreter back to the answering thread soon

logger = logging.getLogger(__name__)


class _Sample(NamedTuple):
    model: LoadedModel
    symbol: str
    ts_event_ns: int
    served_ns: int
    window: NDArray[np.float32]


class ServedSampler:
    """Notes a share of all predictions; a thread of its own hashes and writes them in batches.

    `note` never waits, never touches the disk and never raises: where the thread cannot keep up, or the file cannot be
    written, samples are dropped and counted. Use it as a context manager; leaving it writes what waits.

    Args:
        path: file of the log, made with the first sample.
        share: part of the predictions that are noted, 0 to 1.
        kept: how many of the newest samples stay in the file.
        draw: returns uniform numbers in [0, 1); decides which predictions are noted.
    """

    def __init__(self, path: Path, *, share: float, kept: int, draw: Callable[[], float]) -> None:
        self._path = path
        self._share = share
        self._kept = kept
        self._draw = draw
        self._waiting: deque[_Sample] = deque()
        self._wake = threading.Event()
        self._is_closing = False
        self._n_refused = 0
        self._n_unwritten = 0
        self._n_recorded_lost = 0
        self._log: ServedLog | None = None
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)

    @property
    def n_dropped(self) -> int:
        """How many samples were lost since the start."""
        return self._n_refused + self._n_unwritten

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits and stop the thread."""
        self._is_closing = True
        self._wake.set()
        self._thread.join()

    def note(
        self, model: LoadedModel, symbol: str, ts_event_ns: int, served_ns: int, window: NDArray[np.float32]
    ) -> None:
        """Remember one prediction; `window` is float32 (time, feature) and must not be changed afterwards."""
        if self._share < 1.0 and self._draw() >= self._share:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._n_refused += 1
            return
        self._waiting.append(_Sample(model, symbol, ts_event_ns, served_ns, window))
        if len(self._waiting) == MAX_WAITING // 2:
            self._wake.set()

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._wake.wait(_WRITE_EVERY_S)
                self._wake.clear()
                self._write_all()
            self._write_all()  # what was noted between the last look and the request to stop
        finally:
            self._n_unwritten += len(self._waiting)
            if self._log is not None:
                self._log.close()
            if self.n_dropped:
                logger.warning("the log of served features lost %d samples", self.n_dropped)

    def _write_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            try:
                self._write(batch)
            except RatchetError as error:
                if self._n_unwritten == 0:
                    logger.warning("served features cannot be logged, predictions go on: %s", error)
                self._n_unwritten += len(batch)
                return  # the rest is tried at the next look

    def _write(self, batch: list[_Sample]) -> None:
        if self._log is None:
            self._log = ServedLog(self._path)
        n_lost = self.n_dropped
        self._log.append([_vector(sample) for sample in batch], kept=self._kept, n_lost=n_lost - self._n_recorded_lost)
        self._n_recorded_lost = n_lost


def _vector(sample: _Sample) -> ServedVector:
    packed = sample.window.astype("<f4", copy=False).tobytes()
    return ServedVector(
        view=sample.model.feature_view,
        schema_hash=sample.model.schema_hash,
        symbol=sample.symbol,
        ts_event_ns=sample.ts_event_ns,
        served_ns=sample.served_ns,
        model=sample.model.name,
        version=sample.model.version,
        values=sample.window[-1],
        window_sha256=hashlib.sha256(packed).hexdigest(),
    )
