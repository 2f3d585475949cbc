"""Joined features are what was known at each moment, for any corrections, ties, TTLs and batches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from ratchet.features.store import joins
from ratchet.features.store.joins import ViewRequest, join_features
from ratchet.features.store.offline import OfflineStore

_VERSION = "5a" * 32
_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
_ABSENT = "XRP/USDT"

Row = tuple[str, int, int]
"""Symbol, event, known."""
Moment = tuple[str, int]
"""Symbol, time of the decision."""
Found = tuple[int, int, float] | None
"""Event, known and the feature's value of the row that was joined."""

_LAST_NS = 12
_EVERY_MOMENT = [(symbol, ts_ns) for ts_ns in range(_LAST_NS, -1, -1) for symbol in (*_SYMBOLS, _ABSENT)]
_rows = st.lists(
    st.tuples(st.sampled_from(_SYMBOLS), st.integers(0, 5), st.integers(0, 5)).map(
        lambda row: (*row[:2], row[1] + row[2])
    ),
    min_size=1,
    max_size=24,
    unique=True,
)
_ttls = st.sampled_from([None, 0, 1, 2, 3, 5])
_some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _reference(rows: Sequence[Row], spine: Sequence[Moment], ttl_ns: int | None) -> list[Found]:
    """Look at every row for every moment. The value of a row is its position."""
    answers: list[Found] = []
    for symbol, ts_ns in spine:
        known = [
            (event, at, float(value)) for value, (name, event, at) in enumerate(rows) if name == symbol and at <= ts_ns
        ]
        best = max(known, default=None)
        answers.append(None if best is None or (ttl_ns is not None and ts_ns - best[0] > ttl_ns) else best)
    return answers


def _known_last(rows: Sequence[Row], spine: Sequence[Moment], ttl_ns: int | None) -> list[Found]:
    """Answer the row that became known last, even where it corrects an old event: a plain ASOF join."""
    answers: list[Found] = []
    for symbol, ts_ns in spine:
        known = [
            (at, event, float(value)) for value, (name, event, at) in enumerate(rows) if name == symbol and at <= ts_ns
        ]
        at, event, value = max(known, default=(-1, -1, 0.0))
        answers.append((event, at, value) if known and (ttl_ns is None or ts_ns - event <= ttl_ns) else None)
    return answers


def _ttl_end_excluded(rows: Sequence[Row], spine: Sequence[Moment], ttl_ns: int | None) -> list[Found]:
    """Drop a row that is exactly as old as the TTL."""
    return _reference(rows, spine, ttl_ns if ttl_ns is None else ttl_ns - 1)


def _ttl_from_known(rows: Sequence[Row], spine: Sequence[Moment], ttl_ns: int | None) -> list[Found]:
    """Count the TTL from when a row became known."""
    found = zip(_reference(rows, spine, None), spine, strict=True)
    return [one if one and (ttl_ns is None or ts_ns - one[1] <= ttl_ns) else None for one, (_, ts_ns) in found]


def _seeing_the_future(rows: Sequence[Row], spine: Sequence[Moment], ttl_ns: int | None) -> list[Found]:
    """Join by event time and ignore when a row became known."""
    answers: list[Found] = []
    for symbol, ts_ns in spine:
        past = [
            (event, at, float(value))
            for value, (name, event, at) in enumerate(rows)
            if name == symbol and event <= ts_ns
        ]
        best = max(past, default=None)
        answers.append(None if best is None or (ttl_ns is not None and ts_ns - best[0] > ttl_ns) else best)
    return answers


def _joined(
    rows: Sequence[Row], spine: Sequence[Moment], ttl_ns: int | None = None, *, n_batches: int = 1
) -> list[Found]:
    """Store the rows in batches as they come, join them with the real engine, and return what was found."""
    stored = pd.DataFrame(rows, columns=["symbol", "ts_event_ns", "known_ns"])
    stored = stored.assign(value=np.arange(len(stored), dtype=np.float32))
    moments = pd.DataFrame(spine, columns=["symbol", "ts_ns"])
    with tempfile.TemporaryDirectory() as folder:
        store = OfflineStore(Path(folder))
        for batch in np.array_split(np.arange(len(stored)), n_batches):
            if len(batch):
                store.write("bars", _VERSION, stored.iloc[batch], timeframe="1m", lineage={})
        answer = join_features(store, moments, [ViewRequest("bars", _VERSION, ttl_ns=ttl_ns)])
    pd.testing.assert_frame_equal(answer[["symbol", "ts_ns"]], moments)
    columns = (answer["bars__ts_event_ns"], answer["bars__known_ns"], answer["value"])
    assert (columns[0].isna() == columns[2].isna()).all()
    assert (columns[1].isna() == columns[2].isna()).all()
    return [
        None if np.isnan(value) else (int(event), int(at), value) for event, at, value in zip(*columns, strict=True)
    ]


@_some
@given(rows=_rows, ttl_ns=_ttls, n_batches=st.integers(1, 3), absent=st.sampled_from([None, *_SYMBOLS]))
def test_the_join_finds_what_a_look_at_every_row_finds(
    rows: list[Row], ttl_ns: int | None, n_batches: int, absent: str | None
) -> None:
    """At every moment, whatever was corrected late, tied, too old, in another batch or of a symbol nobody asks for."""
    spine = [moment for moment in _EVERY_MOMENT if moment[0] != absent]
    assert _joined(rows, spine, ttl_ns, n_batches=n_batches) == _reference(rows, spine, ttl_ns)


@_some
@given(rows=_rows, others=_rows, t=st.integers(0, _LAST_NS), ttl_ns=_ttls)
def test_nothing_known_later_changes_a_join(rows: list[Row], others: list[Row], t: int, ttl_ns: int | None) -> None:
    """Whatever becomes known after t is replaced by other rows: joins at moments up to t stay as they were."""
    past = [row for row in rows if row[2] <= t]
    futures = [[row for row in some if row[2] > t] for some in (rows, others)]
    until_t = [moment for moment in _EVERY_MOMENT if moment[1] <= t]
    one, other = (_joined([*past, *future], until_t, ttl_ns) if past or future else None for future in futures)
    assert one is None or other is None or one == other


@_some
@given(rows=_rows, known_by_ns=st.none() | st.integers(0, 16), start=st.integers(0, 8), length=st.integers(0, 8))
def test_reading_answers_the_newest_correction_of_each_event(
    rows: list[Row], known_by_ns: int | None, start: int, length: int
) -> None:
    """Of each event in the period, the correction known last by then; nothing that was known later."""
    frame = pd.DataFrame(rows, columns=["symbol", "ts_event_ns", "known_ns"]).assign(value=np.float32(0))
    frame["value"] = np.arange(len(frame), dtype=np.float32)
    newest: dict[tuple[str, int], tuple[int, float]] = {}
    for value, (symbol, event, at) in enumerate(rows):
        if start <= event < start + length and (known_by_ns is None or at <= known_by_ns):
            newest[symbol, event] = max(newest.get((symbol, event), (-1, 0.0)), (at, float(value)))
    with tempfile.TemporaryDirectory() as folder:
        store = OfflineStore(Path(folder))
        store.write("bars", _VERSION, frame, timeframe="1m", lineage={})
        read = store.read("bars", _VERSION, start_ns=start, end_ns=start + length, known_by_ns=known_by_ns)
    expected = [(*key, *newest[key]) for key in sorted(newest)]
    assert list(read.itertuples(index=False, name=None)) == expected


_LATE_CORRECTION: list[Row] = [("BTC/USDT", 1, 1), ("BTC/USDT", 2, 2), ("BTC/USDT", 1, 5)]


def test_a_late_correction_does_not_mask_a_newer_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event 1 is corrected when event 2 is known already: event 2 is joined; a plain ASOF join answers event 1."""
    spine = [("BTC/USDT", 6)]
    assert _joined(_LATE_CORRECTION, spine) == _reference(_LATE_CORRECTION, spine, None) == [(2, 2, 1.0)]
    assert _known_last(_LATE_CORRECTION, spine, None) == [(1, 5, 2.0)]
    lines = joins._NEWEST_KNOWN.splitlines(keepends=True)
    plain = "".join(line for line in lines if "QUALIFY" not in line)
    assert plain != joins._NEWEST_KNOWN
    monkeypatch.setattr(joins, "_NEWEST_KNOWN", plain)
    assert _joined(_LATE_CORRECTION, spine) == [(1, 5, 2.0)]


@pytest.mark.parametrize("mutant", [_known_last, _ttl_end_excluded, _ttl_from_known, _seeing_the_future])
def test_the_property_would_find_a_wrong_join(
    mutant: Callable[[Sequence[Row], Sequence[Moment], int | None], list[Found]],
) -> None:
    """The generated cases include some on which each mutant answers wrongly; two rows are enough."""
    case = st.tuples(_rows, st.just(_EVERY_MOMENT), _ttls)
    rows, _, _ = find(case, lambda drawn: mutant(*drawn) != _reference(*drawn), settings=_some)
    assert len(rows) <= 2


def test_the_ttl_counts_from_the_event_and_its_end_is_included() -> None:
    """A row is joined while it is as old as the TTL, whenever it became known; then nothing is, not an older row."""
    rows = [("BTC/USDT", 0, 0), ("BTC/USDT", 10, 14)]
    spine = [("BTC/USDT", ts_ns) for ts_ns in (5, 6, 13, 14, 15, 16)]
    assert _joined(rows, spine, 5) == [(0, 0, 0.0), None, None, (10, 14, 1.0), (10, 14, 1.0), None]
