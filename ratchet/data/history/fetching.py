"""Fetching one series: what is missing, page by page, into the history."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import Clock, iso_utc
from ratchet.data.atomic import sha256_bytes, write_bytes
from ratchet.data.history.admission import admit
from ratchet.data.history.candles import CandleHistory
from ratchet.data.history.segments import VALUE_COLUMNS
from ratchet.data.history.series import SeriesKey, Span, joined, without
from ratchet.errors import InputError, NotFoundError, UnavailableError
from ratchet.market.venue import Exchange, Instrument


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """How a collection goes about its work.

    `first_bars`: how far back a new series begins where no start is given. `recheck_bars`: how many of the last stored
    bars are fetched again, because venues correct them; so are those that came late, until `settle_after_ns` old.
    `confirmations`: how often what was not answered is asked for again in the same collection. A gap is asked for at
    each collection until it is attested by `settle_attempts` answers, the last of them `settle_after_ns` or more after
    its end. `commit_rows`: rows of a series that are held in memory before they are stored. `concurrency`: series
    fetched at the same time.
    """

    first_bars: int = 4_000
    recheck_bars: int = 5
    confirmations: int = 2
    settle_after_ns: int = 86_400 * 10**9
    settle_attempts: int = 3
    commit_rows: int = 20_000
    concurrency: int = 16


@dataclass
class SeriesFetch:
    """The fetching of one series, and what it learned on the way."""

    key: SeriesKey
    wanted: Span
    exchange: Exchange
    history: CandleHistory
    clock: Clock
    policy: CollectionPolicy
    quarantine_folder: Path
    on_page: Callable[[str, int], None]
    begins_at_listing: bool = False
    """Whether nothing before the symbol's listing is wanted."""

    instrument: Instrument | None = None
    is_delisted: bool = False
    asked: list[Span] = field(default_factory=list)
    """Stretches that the venue answered to the end, once for each time."""
    failures: list[tuple[Span, str]] = field(default_factory=list)
    refused_ns: set[int] = field(default_factory=set)
    quarantine: list[Path] = field(default_factory=list)
    n_new: int = 0
    n_revised: int = 0
    n_refused: int = 0
    n_repaired: int = 0
    times_ns: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    stored_before: Span | None = None
    rechecks: list[Span] = field(default_factory=list)
    """Stretches that are asked for although they are stored."""
    problem: InputError | None = None
    """Why nothing can be fetched of the series, where it is the caller who has to change something."""
    _answered_gaps: list[Span] = field(default_factory=list)
    _unconfirmed_ns: set[int] = field(default_factory=set)
    _pages: list[pd.DataFrame] = field(default_factory=list)

    async def prepare(self) -> None:
        """Look up what is stored, and what the venue says about the symbol."""
        self.times_ns = self.history.times(self.key)
        lines = self.history.catalog.list_gaps(
            venue=self.key.venue, symbol=self.key.symbol, timeframe=self.key.timeframe
        )
        self._answered_gaps = [gap.span for gap in lines if gap.was_answered]
        if len(self.times_ns):
            self.stored_before = Span(int(self.times_ns[0]), int(self.times_ns[-1]) + self.key.bar.ns)
            self.rechecks = [self._tail(), *self._late_arrivals()]
            for span in self.rechecks:
                first, last = np.searchsorted(self.times_ns, [span.start_ns, span.end_ns])
                self._unconfirmed_ns.update(self.times_ns[first:last].tolist())
        try:
            self.instrument = await self.exchange.describe(self.key.symbol)
        except NotFoundError as error:
            if self.stored_before is None:
                self.problem = InputError(f"{error}; check the spelling")
            self.is_delisted = True
            return
        except UnavailableError:
            self.instrument = None  # then nothing is known about its listing; fetching will tell more
            return
        if self.begins_at_listing and self.instrument.listed_ns is not None:
            listed_ns = self.key.first_open_ns(self.instrument.listed_ns)
            self.wanted = Span(min(max(self.wanted.start_ns, listed_ns), self.wanted.end_ns), self.wanted.end_ns)

    def holes(self) -> list[Span]:
        """Return what is missing of what is wanted."""
        return self.key.holes(self.times_ns, self.wanted)

    def unconfirmed(self) -> list[Span]:
        """Return the stored bars that were to be asked for again and are in no answer yet."""
        return joined([Span(open_ns, open_ns + self.key.bar.ns) for open_ns in self._unconfirmed_ns])

    async def fetch(self, spans: list[Span]) -> None:
        """Fetch stretches of time; failures are noted, not raised."""
        self.failures.clear()
        if self.is_delisted or self.problem:
            return
        reach_ns = self.exchange.traits.page_rows // 4 * self.key.bar.ns
        for span in joined(spans, reach_ns=reach_ns):
            await self._fetch_span(span)
            self._store()

    async def trades_in(self, hole: Span) -> int | None:
        """Return how many trades the venue shows in a hole, 1 standing for any; None where it cannot tell."""
        if self.is_delisted or not self.exchange.traits.has_trade_history:
            return None
        try:
            page = await self.exchange.fetch_trades(self.key.symbol, hole.start_ns, 1)
        except (UnavailableError, InputError):
            return None
        return int((page["ts_event_ns"] < hole.end_ns).any())

    def failure_of(self, span: Span) -> str | None:
        """Return why a stretch could not be fetched."""
        return next((message for failed, message in self.failures if failed.overlaps(span)), None)

    def _tail(self) -> Span:
        last_close = int(self.times_ns[-1]) + self.key.bar.ns
        first = last_close - self.policy.recheck_bars * self.key.bar.ns
        return Span(max(first, self.wanted.start_ns), last_close)  # a young series has fewer bars than that

    def _late_arrivals(self) -> list[Span]:
        """Return young bars that came late: their first values may be as preliminary as those of new bars."""
        key = self.key
        since_ns = key.first_open_ns(self.clock.now_ns() - self.policy.settle_after_ns)
        lines = self.history.catalog.list_gaps(
            venue=key.venue, symbol=key.symbol, timeframe=key.timeframe, with_closed=True
        )
        closed = [gap for gap in lines if gap.closed_ns is not None and gap.end_ns > since_ns]
        return [Span(max(gap.start_ns, since_ns), gap.end_ns) for gap in closed]

    async def _fetch_span(self, span: Span) -> None:
        since_ns = span.start_ns
        while since_ns < span.end_ns:
            limit = min(self.exchange.traits.page_rows, self.key.n_bars(Span(since_ns, span.end_ns)) + 1)
            try:
                page = await self.exchange.fetch_candles(self.key.symbol, self.key.bar, since_ns, limit)
            except UnavailableError as error:
                self.failures.append((Span(since_ns, span.end_ns), str(error)))
                return
            except InputError as error:
                await self._note_vanished(error)
                return
            if page.empty:
                break
            last_ns = int(page["ts_event_ns"].max())
            if last_ns < since_ns:
                reason = f"{self.exchange.name} answered bars before {iso_utc(since_ns)} only, against what was asked"
                self.failures.append((Span(since_ns, span.end_ns), reason))
                return
            self._take(page, span)
            since_ns = last_ns + 1
        self.asked.append(span)

    async def _note_vanished(self, error: InputError) -> None:
        """Tell a symbol that is gone from a request that cannot be answered."""
        try:
            await self.exchange.describe(self.key.symbol)
        except NotFoundError:
            self.is_delisted = bool(len(self.times_ns) or self._pages)
        except UnavailableError:
            pass
        if not self.is_delisted:
            self.problem = error

    def _take(self, page: pd.DataFrame, span: Span) -> None:
        times = page["ts_event_ns"]
        self._pages.append(page[(times >= span.start_ns) & (times < span.end_ns)])
        self.on_page(self.key.symbol, len(self._pages[-1]))
        if sum(map(len, self._pages)) >= self.policy.commit_rows:
            self._store()

    def _store(self) -> None:
        """Put what was fetched into the history: new bars and corrected ones; keep apart what cannot be true."""
        if not self._pages:
            return
        good, refused = admit(pd.concat(self._pages, ignore_index=True), self.key)
        self._pages.clear()
        self._set_aside(refused)
        if good.empty:
            return
        times = good["ts_event_ns"].to_numpy()
        self._unconfirmed_ns.difference_update(times.tolist())
        is_new = self._is_new(times)
        stored = self._stored(times)
        is_revised = ~is_new & _differ(stored, good)
        changed = is_new | is_revised
        if changed.any():
            known_ns = self._known_ns(times, is_revised, stored)
            self.history.add(self.key, good[changed].assign(known_ns=known_ns[changed]))
        self.n_new += int(is_new.sum())
        self.n_revised += int(is_revised.sum())
        self.n_repaired += int((is_new & self._is_late(times)).sum())
        self._remember(times[is_new])

    def _is_new(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self.times_ns) or times[0] > self.times_ns[-1]:  # the usual way to grow
            return np.ones(len(times), dtype=bool)
        return ~np.isin(times, self.times_ns, assume_unique=True)

    def _remember(self, times: NDArray[np.int64]) -> None:
        together = np.concatenate([self.times_ns, times])
        is_appended = not len(self.times_ns) or not len(times) or times[0] > self.times_ns[-1]
        self.times_ns = together if is_appended else np.sort(together)

    def _stored(self, times: NDArray[np.int64]) -> pd.DataFrame:
        """Return the bars of these times that are in the store, by time, with their latest values."""
        if not len(self.times_ns) or times[0] > self.times_ns[-1]:
            return pd.DataFrame(columns=[*VALUE_COLUMNS, "known_ns"], dtype="int64")
        stored = self.history.versions(self.key, Span(int(times[0]), int(times[-1]) + 1))
        return stored.drop_duplicates("ts_event_ns", keep="last").set_index("ts_event_ns")

    def _known_ns(
        self, times: NDArray[np.int64], is_revised: NDArray[np.bool_], stored: pd.DataFrame
    ) -> NDArray[np.int64]:
        """Return since when the values are known: a bar's close, or now where it came late or was corrected.

        A correction is known after what it corrects, whatever the clock shows.
        """
        closes = times + self.key.bar.ns
        now_ns = self.clock.now_ns()
        known = np.where(is_revised | self._is_late(times), np.maximum(closes, now_ns), closes)
        earlier = stored["known_ns"].reindex(times, fill_value=0).to_numpy()  # whole numbers: no rounding to float
        return np.where(is_revised, np.maximum(known, earlier + 1), known)

    def _is_late(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark bars between others that were stored before, and bars that the venue once did not have."""
        late = np.zeros(len(times), dtype=bool)
        if self.stored_before is not None:
            late |= (times > self.stored_before.start_ns) & (times < self.stored_before.end_ns)
        for span in self._answered_gaps:
            late |= (times >= span.start_ns) & (times < span.end_ns)
        return late

    def _set_aside(self, refused: pd.DataFrame) -> None:
        """Write refused rows to a file named by its content, so that the same rows make one file."""
        if refused.empty:
            return
        buffer = io.BytesIO()
        refused.to_parquet(buffer, index=False)
        payload = buffer.getvalue()
        path = self.quarantine_folder / self.key.folder / f"{sha256_bytes(payload)[:16]}.parquet"
        if path not in self.quarantine:
            write_bytes(path, payload)
            self.quarantine.append(path)
        self.refused_ns |= set(refused["ts_event_ns"].tolist())
        self.n_refused += len(refused)


def open_holes(fetch: SeriesFetch, settled: list[Span]) -> list[Span]:
    """Return what is missing and not settled."""
    return [piece for hole in fetch.holes() for piece in without(hole, settled)]


def _differ(stored: pd.DataFrame, fetched: pd.DataFrame) -> NDArray[np.bool_]:
    """Mark the fetched bars whose values are not those in the store."""
    before = stored.reindex(fetched["ts_event_ns"]).loc[:, list(VALUE_COLUMNS)].to_numpy()
    return np.asarray((before != fetched.loc[:, list(VALUE_COLUMNS)].to_numpy()).any(axis=1), dtype=bool)
