"""What every online store must do: subclass `OnlineStoreContract` and give it a `store` fixture."""
# ruff: noqa: S101 - a contract suite asserts

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.features.store import OnlineStore, OnlineVector, OnlineWindow

_HOUR_NS = 3_600 * 1_000_000_000
_NOW_NS = 1_704_067_200_000_000_001
"""Odd, and above 2^53: as a double it equals its neighbours."""

_AWKWARD_PAIRS = [("a:b", "c"), ("a", "b:c"), ("a", "B:C"), ("a%3Ab", "c"), ("", "a:b:c"), ("*", "?[x]"), ("ü", "₿/€")]


class OnlineStoreContract(ABC):
    """The tests; each starts with an empty store."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> Any:
        """Return or yield an empty store."""

    def test_a_window_is_read_as_it_was_written(self, store: OnlineStore) -> None:
        """Every bit of the values and the time, schema and bar length come back; unknown keys give None."""
        written = make_window(1)
        assert store.write_windows("view", "abc", {"BTC/USDT": (_NOW_NS, written)}, _HOUR_NS) == 1
        found = read_window(store)
        assert found.values.tobytes() == written.tobytes()
        assert (found.values.shape, found.values.dtype.name) == ((60, 67), "float32")
        assert (found.ts_event_ns, found.schema_hash, found.timeframe_ns) == (_NOW_NS, "abc", _HOUR_NS)
        assert not found.values.flags.writeable
        assert store.read_window("view", "ETH/USDT") is None
        assert store.read_window("other", "BTC/USDT") is None

    def test_an_older_window_does_not_replace_a_newer_one(self, store: OnlineStore) -> None:
        """A slow writer cannot turn time back by a nanosecond, unless the schema changed or it says so."""
        newer, older = (_NOW_NS, make_window(5)), (_NOW_NS - 1, make_window(4))
        store.write_windows("view", "abc", {"BTC/USDT": newer}, 1)
        assert store.write_windows("view", "abc", {"BTC/USDT": older, "ETH/USDT": older}, 1) == 1
        assert read_window(store).ts_event_ns == _NOW_NS
        assert store.write_windows("view", "abc", {"BTC/USDT": (_NOW_NS, make_window(55))}, 1) == 1
        np.testing.assert_array_equal(read_window(store).values, make_window(55))
        assert store.write_windows("view", "abc", {"BTC/USDT": older}, 1, replace=True) == 1
        assert read_window(store).ts_event_ns == _NOW_NS - 1
        assert store.write_windows("view", "new", {"BTC/USDT": (2, make_window(2))}, 1) == 1
        assert (read_window(store).ts_event_ns, read_window(store).schema_hash) == (2, "new")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_window_that_is_not_finite_stops_the_whole_write(self, store: OnlineStore, value: float) -> None:
        """All symbols or none: the good window beside the bad one is not stored either."""
        bad = make_window(2)
        bad[3, 4] = value
        with pytest.raises(InputError, match="ETH/USDT: the window holds numbers that are not finite"):
            store.write_windows("view", "abc", {"BTC/USDT": (0, make_window(1)), "ETH/USDT": (0, bad)}, 1)
        assert store.read_window("view", "BTC/USDT") is None

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (2, 3, 4)])
    def test_only_a_two_dimensional_window_is_stored(self, store: OnlineStore, shape: tuple[int, ...]) -> None:
        """Anything but (time, feature) with something in it is refused."""
        with pytest.raises(InputError, match="a window is"):
            store.write_windows("view", "abc", {"BTC/USDT": (0, np.zeros(shape, dtype=np.float32))}, 1)

    def test_what_the_caller_does_with_its_array_changes_nothing(self, store: OnlineStore) -> None:
        """A float64 slice of a wider panel is kept as packed float32, and kept for good."""
        wide: Any = np.arange(24, dtype=np.float64).reshape(4, 6)
        store.write_windows("view", "abc", {"BTC/USDT": (0, wide[::2, ::3])}, 1)
        store.write_vectors("view", "abc", {"BTC/USDT": (0, 0, wide[1, ::2])})
        wide[:] = -1
        np.testing.assert_array_equal(read_window(store).values, np.array([[0, 3], [12, 15]], dtype=np.float32))
        np.testing.assert_array_equal(read_vector(store).values, np.array([6, 8, 10], dtype=np.float32))

    def test_a_vector_is_read_as_it_was_written(self, store: OnlineStore) -> None:
        """Every bit, missing features too, the order and the schema come back; unknown keys are absent."""
        written = make_vector(1)
        written[[0, 7]] = np.nan
        assert store.write_vectors("view", "abc", {"BTC/USDT": (_NOW_NS, 3, written)}) == 1
        found = store.read_vectors("view", ["ETH/USDT", "BTC/USDT", "BTC/USDT"])
        assert list(found) == ["BTC/USDT"]
        vector = found["BTC/USDT"]
        assert vector.values.tobytes() == written.tobytes()
        assert (vector.values.shape, vector.values.dtype.name) == ((110,), "float32")
        assert (vector.ts_event_ns, vector.sequence, vector.schema_hash) == (_NOW_NS, 3, "abc")
        assert not vector.values.flags.writeable
        assert store.read_vectors("other", ["BTC/USDT"]) == {}
        assert store.read_vectors("view", []) == {}

    def test_only_a_later_vector_is_stored(self, store: OnlineStore) -> None:
        """The order is that of whole numbers (ts_event_ns, sequence); the same again is no write."""
        order = [(-5, 9), (-1, -1), (-1, 0), (0, -7), (7, 2), (_NOW_NS, -1), (_NOW_NS, 4), (_NOW_NS, 5)]
        order += [(_NOW_NS, 2**53), (_NOW_NS, 2**53 + 1), (_NOW_NS + 1, -3), (2**63 - 1, 2**63 - 1)]
        for number, (ts_event_ns, sequence) in enumerate(order):
            assert store.write_vectors("view", "abc", {"BTC/USDT": (ts_event_ns, sequence, make_vector(number))}) == 1
            for earlier in order[: number + 1]:
                assert store.write_vectors("view", "abc", {"BTC/USDT": (*earlier, make_vector(99))}) == 0
            found = read_vector(store)
            assert (found.ts_event_ns, found.sequence) == (ts_event_ns, sequence)
            np.testing.assert_array_equal(found.values, make_vector(number))

    def test_a_replay_in_any_order_ends_at_the_newest(self, store: OnlineStore) -> None:
        """Vectors of four symbols, shuffled and repeated, leave the last of each."""
        rng = np.random.default_rng(3)
        events = [
            (f"S{symbol}", _NOW_NS + time, sequence)
            for symbol in range(4)
            for time, sequence in [(0, 1), (0, 2), (1, 0)]
        ]
        for row in rng.permutation(np.repeat(np.arange(len(events)), 3)):
            symbol, ts_event_ns, sequence = events[row]
            store.write_vectors("view", "abc", {symbol: (ts_event_ns, sequence, make_vector(int(row)))})
        found = store.read_vectors("view", [f"S{symbol}" for symbol in range(4)])
        assert {(found[key].ts_event_ns, found[key].sequence) for key in found} == {(_NOW_NS + 1, 0)}
        for symbol in range(4):
            np.testing.assert_array_equal(found[f"S{symbol}"].values, make_vector(3 * symbol + 2))

    def test_a_vector_of_another_schema_replaces_even_a_later_one(self, store: OnlineStore) -> None:
        """A new release of the features starts over, also where the hash or the vectors have another length."""
        store.write_vectors("view", "abc", {"BTC/USDT": (_NOW_NS, 0, make_vector(1))})
        for number, schema_hash in enumerate(["abd", "abdé", "", "x" * 300]):
            new = make_vector(number)[: 5 + number]
            assert store.write_vectors("view", schema_hash, {"BTC/USDT": (number, 0, new)}) == 1
            assert store.write_vectors("view", schema_hash, {"BTC/USDT": (number, 0, new)}) == 0
            assert read_vector(store).schema_hash == schema_hash
            np.testing.assert_array_equal(read_vector(store).values, new)

    @pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
    def test_an_infinity_stops_the_whole_write_of_vectors(self, store: OnlineStore, value: float) -> None:
        """All symbols or none; a number too large for float32 is an infinity."""
        bad: Any = make_vector(2).astype(np.float64)
        bad[4] = value
        with pytest.raises(InputError, match="ETH/USDT: the vector holds infinities"):
            store.write_vectors("view", "abc", {"BTC/USDT": (0, 0, make_vector(1)), "ETH/USDT": (0, 0, bad)})
        assert store.read_vectors("view", ["BTC/USDT", "ETH/USDT"]) == {}

    @pytest.mark.parametrize("shape", [(0,), (), (1, 3)])
    def test_only_a_one_dimensional_vector_is_stored(self, store: OnlineStore, shape: tuple[int, ...]) -> None:
        """Anything but (feature,) with something in it is refused."""
        with pytest.raises(InputError, match="a vector is"):
            store.write_vectors("view", "abc", {"BTC/USDT": (0, 0, np.zeros(shape, dtype=np.float32))})

    def test_numbers_beyond_64_bits_are_refused(self, store: OnlineStore) -> None:
        """A time in a unit too fine is an error of the caller, in every engine."""
        with pytest.raises(InputError, match="64 bits"):
            store.write_vectors("view", "abc", {"BTC/USDT": (2**63, 0, make_vector(1))})
        with pytest.raises(InputError, match="64 bits"):
            store.write_vectors("view", "abc", {"BTC/USDT": (0, -(2**63) - 1, make_vector(1))})
        with pytest.raises(InputError, match="64 bits"):
            store.write_windows("view", "abc", {"BTC/USDT": (2**63, make_window(1))}, 1)

    def test_views_symbols_windows_and_vectors_are_kept_apart(self, store: OnlineStore) -> None:
        """Names that differ in a character, whichever, are different keys, and so are the two kinds of one name."""
        for number, (view, symbol) in enumerate(_AWKWARD_PAIRS):
            assert store.write_vectors(view, "abc", {symbol: (number, 0, make_vector(number))}) == 1
            assert store.write_windows(view, "abc", {symbol: (number, make_window(number))}, 1) == 1
        for number, (view, symbol) in enumerate(_AWKWARD_PAIRS):
            np.testing.assert_array_equal(store.read_vectors(view, [symbol])[symbol].values, make_vector(number))
            np.testing.assert_array_equal(read_window(store, view, symbol).values, make_window(number))

    def test_a_thousand_vectors_are_read_at_once(self, store: OnlineStore) -> None:
        """One call reads them all, and only those that were asked for."""
        symbols = [f"S{number}/USDT" for number in range(1_000)]
        vectors = {symbol: (number, 0, make_vector(number)) for number, symbol in enumerate(symbols)}
        assert store.write_vectors("view", "abc", vectors) == 1_000
        found = store.read_vectors("view", symbols[1:])
        assert {symbol: vector.ts_event_ns for symbol, vector in found.items()} == {
            symbol: number for number, symbol in enumerate(symbols) if number > 0
        }

    def test_the_ttl_counts_in_the_time_of_events(self, store: OnlineStore) -> None:
        """A vector just written is absent where its event is too old, present to the last nanosecond of the limit."""
        store.write_vectors("view", "abc", {"OLD": (_NOW_NS - 101, 0, make_vector(1))})
        store.write_vectors("view", "abc", {"EDGE": (_NOW_NS - 100, 0, make_vector(2))})
        store.write_vectors("view", "abc", {"AHEAD": (_NOW_NS + 5, 0, make_vector(3))})
        symbols = ["OLD", "EDGE", "AHEAD"]
        assert set(store.read_vectors("view", symbols, now_ns=_NOW_NS, ttl_ns=100)) == {"EDGE", "AHEAD"}
        assert set(store.read_vectors("view", symbols, now_ns=_NOW_NS, ttl_ns=101)) == set(symbols)
        assert set(store.read_vectors("view", symbols)) == set(symbols)

    @pytest.mark.parametrize("limit", [{"now_ns": 1}, {"ttl_ns": 1}, {"now_ns": 1, "ttl_ns": -1}])
    def test_a_ttl_needs_both_of_its_numbers(self, store: OnlineStore, limit: dict[str, int]) -> None:
        """A limit without a now, or the other way round, would silently be none."""
        with pytest.raises(InputError, match="ttl_ns"):
            store.read_vectors("view", ["BTC/USDT"], **limit)

    def test_threads_write_and_read_whole_values_only(self, store: OnlineStore) -> None:
        """While four threads write all symbols over and over, time never goes back and no value is torn."""
        symbols, n_turns = ["A", "B", "C"], 25

        def write(writer: int) -> None:
            for turn in range(writer, 4 * n_turns, 4):
                window, vector = np.full((60, 110), turn, np.float32), np.full(110, turn, np.float32)
                store.write_windows("view", "abc", dict.fromkeys(symbols, (turn, window)), 1)
                store.write_vectors("view", "abc", dict.fromkeys(symbols, (turn, 0, vector)))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        newest = {(kind, symbol): -1 for kind in ("window", "vector") for symbol in symbols}
        while any(thread.is_alive() for thread in threads):
            for name, time_ns, values in read_all(store, symbols):
                assert np.unique(values).tolist() == [time_ns]
                assert time_ns >= newest[name]
                newest[name] = time_ns
        assert {(name, time_ns) for name, time_ns, _ in read_all(store, symbols)} == {
            (name, 4 * n_turns - 1) for name in newest
        }


def make_window(seed: int) -> NDArray[np.float32]:
    """Make a window (60, 67)."""
    return np.random.default_rng(seed).normal(size=(60, 67)).astype(np.float32)


def make_vector(seed: int) -> NDArray[np.float32]:
    """Make a vector (110,)."""
    return np.random.default_rng(seed).normal(size=110).astype(np.float32)


def read_window(store: OnlineStore, view: str = "view", symbol: str = "BTC/USDT") -> OnlineWindow:
    """Read a window that must be there."""
    found = store.read_window(view, symbol)
    assert found is not None
    return found


def read_vector(store: OnlineStore) -> OnlineVector:
    """Read a vector that must be there."""
    return store.read_vectors("view", ["BTC/USDT"])["BTC/USDT"]


def read_all(store: OnlineStore, symbols: list[str]) -> list[tuple[tuple[str, str], int, NDArray[np.float32]]]:
    """Read what is there of windows and vectors: name, time, values."""
    windows = {symbol: store.read_window("view", symbol) for symbol in symbols}
    found = [(("window", symbol), window.ts_event_ns, window.values) for symbol, window in windows.items() if window]
    vectors = store.read_vectors("view", symbols)
    return found + [(("vector", symbol), vector.ts_event_ns, vector.values) for symbol, vector in vectors.items()]
