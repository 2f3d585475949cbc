"""From questions to answers: choose the model, fetch the window, run it, say how far the answer can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import Clock, iso_utc
from ratchet.errors import InputError, RatchetError, UnavailableError
from ratchet.features.store.online import OnlineStore, OnlineWindow
from serving.loader import LoadedModel
from serving.schemas import LatencySplit, Prediction, PredictRequest
from serving.served import ServedSampler
from serving.table import ModelTable, Table

_NS_PER_MS = 1_000_000
STALE_AFTER_BARS = 2
"""An answer may be acted on until this many bars after the close of the last bar it used."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A request with all that its answer needs.

    `values` is float32 (time, feature); `stored` is where they came from, None for a caller's window.
    """

    request: PredictRequest
    symbol: str | None
    model: LoadedModel
    values: NDArray[np.float32]
    stored: OnlineWindow | None


@dataclass(frozen=True, slots=True)
class _Validity:
    """When an answer holds; `reason` is why not to act on it, empty where there is none."""

    as_of: str | None
    valid_until: str | None
    is_stale: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Marks of one call, ns on the timer: last byte read, work started, windows ready, models run."""

    received_ns: int
    started_ns: int
    ready_ns: int
    answered_ns: int

    def split(self, now_ns: int) -> LatencySplit:
        """Return the parts in milliseconds."""
        marks = (self.received_ns, self.started_ns, self.ready_ns, self.answered_ns)
        queue, features, inference = ((after - before) / _NS_PER_MS for before, after in pairwise(marks))
        total = (now_ns - self.received_ns) / _NS_PER_MS
        return LatencySplit(queue=queue, features=features, inference=inference, total=total)


class PredictionEngine:
    """Answers requests from one table of models and one online store.

    Args:
        table: which models answer.
        store: where the newest windows are.
        clock: decides whether an answer is stale.
        timer: a monotonic counter, ns.
        sampler: notes what answers by symbol rested on; None: nothing is noted.
    """

    def __init__(
        self,
        table: ModelTable,
        store: OnlineStore,
        clock: Clock,
        timer: Callable[[], int],
        sampler: ServedSampler | None = None,
    ) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._timer = timer
        self._sampler = sampler

    def predict(self, requests: Sequence[PredictRequest], *, received_ns: int, started_ns: int) -> list[Prediction]:
        """Answer all requests, in their order, from one state of the table.

        Windows that go to the same model run as one batch. The first request that cannot be answered fails the call.

        Raises:
            InputError: a window has the wrong shape.
            NotFoundError: an unknown model or symbol.
            UnavailableError: nothing in that stage, or no usable features.
        """
        table = self._table.current
        questions = self._prepare_all(table, requests)
        ready_ns = self._timer()
        answers = _run(questions)
        timing = Timing(received_ns, started_ns, ready_ns, self._timer())
        now_ns = self._clock.now_ns()
        if self._sampler is not None:
            _note(self._sampler, questions, now_ns)
        latency = timing.split(self._timer())
        return [_answer(*pair, now_ns=now_ns, latency=latency) for pair in zip(questions, answers, strict=True)]

    def _prepare_all(self, table: Table, requests: Sequence[PredictRequest]) -> list[_Question]:
        if len(requests) == 1:
            return [self._prepare(table, requests[0])]
        questions = []
        for row, request in enumerate(requests):
            try:
                questions.append(self._prepare(table, request))
            except RatchetError as error:
                raise type(error)(f"requests[{row}]: {error}") from error
        return questions

    def _prepare(self, table: Table, request: PredictRequest) -> _Question:
        symbol = request.symbol.strip().upper() if request.symbol is not None else None
        model = table.choose(request.stage, request.model, symbol)
        if request.window is not None:
            return _Question(request, symbol, model, _callers_window(model, request.window), None)
        stored = self._stored(model, symbol)
        return _Question(request, symbol, model, stored.values[-model.window :], stored)

    def _stored(self, model: LoadedModel, symbol: str | None) -> OnlineWindow:
        if symbol is None:
            raise InputError("give a symbol, a window, or both")
        stored = self._store.read_window(model.feature_view, symbol)
        if stored is None:
            raise UnavailableError(f"no features of {symbol} in view {model.feature_view} yet")
        if stored.schema_hash != model.schema_hash:
            raise UnavailableError(
                f"features of {symbol} in view {model.feature_view} have schema {stored.schema_hash[:12]}, "
                f"{model.name} {model.version} needs {model.schema_hash[:12]}"
            )
        if len(stored.values) < model.window or stored.values.shape[1] != model.n_features:
            raise UnavailableError(
                f"features of {symbol} have shape {stored.values.shape}, "
                f"{model.name} {model.version} needs {(model.window, model.n_features)}"
            )
        if not np.isfinite(stored.values).all():
            raise UnavailableError(f"features of {symbol} in view {model.feature_view} are damaged")
        return stored


def _callers_window(model: LoadedModel, window: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    widths = {len(row) for row in window}
    if len(window) != model.window or widths != {model.n_features}:
        raise InputError(
            f"window: {model.name} {model.version} needs {model.window} rows of {model.n_features} features, "
            f"got {len(window)} rows of {sorted(widths)}"
        )
    with np.errstate(over="ignore"):
        values = np.asarray(window, dtype=np.float64).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("window: a number is too large for float32")
    return values


def _run(questions: Sequence[_Question]) -> NDArray[np.float64]:
    p_up = np.empty(len(questions), dtype=np.float64)
    for model in {id(question.model): question.model for question in questions}.values():
        rows = [row for row, question in enumerate(questions) if question.model is model]
        p_up[rows] = model.predict(np.stack([questions[row].values for row in rows]))
    return p_up


def _note(sampler: ServedSampler, questions: Sequence[_Question], now_ns: int) -> None:
    for question in questions:
        if question.stored is not None and question.symbol is not None:
            sampler.note(question.model, question.symbol, question.stored.ts_event_ns, now_ns, question.values)


def _answer(question: _Question, p_up: float, *, now_ns: int, latency: LatencySplit) -> Prediction:
    model, validity = question.model, _validity(question.stored, now_ns)
    return Prediction(
        symbol=question.symbol,
        model=model.name,
        version=model.version,
        stage=question.request.stage,
        digest=model.digest,
        schema_hash=model.schema_hash,
        p_up=float(p_up),
        direction="up" if p_up > 0.5 else "down",
        advice="abstain" if validity.reason else "act",
        reason=validity.reason,
        as_of=validity.as_of,
        valid_until=validity.valid_until,
        is_stale=validity.is_stale,
        latency_ms=latency,
    )


def _validity(stored: OnlineWindow | None, now_ns: int) -> _Validity:
    if stored is None:
        return _Validity(None, None, is_stale=False, reason="")
    known_ns = stored.ts_event_ns + stored.timeframe_ns
    is_stale = known_ns + STALE_AFTER_BARS * stored.timeframe_ns < now_ns
    reason = f"more than {STALE_AFTER_BARS} bars have passed since the last bar used" if is_stale else ""
    if known_ns > now_ns:
        reason = "the last bar used has not closed yet, by the server's clock"
    return _Validity(iso_utc(known_ns), iso_utc(known_ns + stored.timeframe_ns), is_stale=is_stale, reason=reason)
