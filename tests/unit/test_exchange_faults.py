"""Faults on request: each is what it says it is, a seed repeats them, and a client that tries again gets through."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import NS_PER_S, FixedClock
from ratchet.errors import InputError
from ratchet.exchanges.simulated import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.server import ExchangeServer, FaultKind, FaultPlan, FrameExchange
from ratchet.exchanges.simulated.server.faults import FaultScope
from ratchet.exchanges.simulated.server.http_faults import ELSEWHERE
from ratchet.market import Timeframe

aiohttp = pytest.importorskip("aiohttp", reason="the server needs ratchet[collect]")

T = TypeVar("T")
Rows = list[list[Any]]
HOUR = Timeframe.parse("1h")
CONFIG = SimulatedMarketConfig(n_bars=200, n_symbols=3)
MARKET = SimulatedMarket(CONFIG)
HOUR_MS = HOUR.ns // 1_000_000
START_MS = CONFIG.start_ns // 1_000_000
KLINES = f"/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000&startTime={START_MS + 10 * HOUR_MS}"
"""Asks Binance for the closed bars 10 to 199 and the running one."""

DEPTH = "/api/v3/depth?symbol=BTCUSDT"
KRAKEN_BOOK = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"], "depth": 10}}
OKX_BOOK = {"op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def rows(self) -> Rows:
        return list(json.loads(self.body))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def server_of(plan: FaultPlan | None, venue: str = "binance", **options: Any) -> ExchangeServer:
    options = {"upstream": SimulatedExchange(MARKET), "clock": FixedClock(CONFIG.end_ns), **options}
    return ExchangeServer(options.pop("upstream"), venue=venue, timeframe=HOUR, faults=plan, **options)


async def get(server: ExchangeServer, path: str, session: Any) -> Answer:
    async with session.get(server.url + path, allow_redirects=False) as response:
        return Answer(response.status, response.headers, await response.text())


def answers(plan: FaultPlan | None, path: str, count: int = 1, **options: Any) -> list[Answer]:
    async def ask() -> list[Answer]:
        async with server_of(plan, **options) as server, aiohttp.ClientSession() as session:
            return [await get(server, path, session) for _ in range(count)]

    return run(ask())


def always(kind: FaultKind, **options: Any) -> FaultPlan:
    return FaultPlan({kind: 1.0}, seed=3, **options)


@cache
def true_rows() -> Rows:
    return answers(None, KLINES)[0].rows


def times_of(rows: Rows) -> list[int]:
    return [row[0] for row in rows]


REPLIES: dict[FaultKind, Callable[[Answer], bool]] = {
    FaultKind.TOO_MANY_REQUESTS: lambda answer: answer.status == 429 and int(answer.headers["Retry-After"]) > 0,
    FaultKind.TOO_MANY_REQUESTS_BARE: lambda answer: answer.status == 429 and "Retry-After" not in answer.headers,
    FaultKind.BANNED: lambda answer: answer.status == 418 and int(answer.headers["Retry-After"]) > 0,
    FaultKind.SERVER_ERROR: lambda answer: answer.status == 500,
    FaultKind.BAD_GATEWAY: lambda answer: answer.status == 502 and answer.body.startswith("<html>"),
    FaultKind.UNAVAILABLE: lambda answer: answer.status == 503,
    FaultKind.GARBAGE: lambda answer: answer.status == 200 and not is_json(answer.body),
    FaultKind.TRUNCATED: lambda answer: answer.status == 200 and answer.body == json_of(true_rows(), answer.body),
    FaultKind.BUSY: lambda answer: answer.status == 200 and json.loads(answer.body)["code"] == -1003,
    FaultKind.REDIRECT: lambda answer: answer.status == 302 and answer.headers["Location"].startswith(ELSEWHERE),
}


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def json_of(rows: Rows, head: str) -> str:
    """The first two thirds of the true text."""
    text = json.dumps(rows, separators=(",", ":"))
    assert not is_json(head)
    return text[: len(text) * 2 // 3]


def differing(rows: Rows) -> list[tuple[list[Any], list[Any]]]:
    """(true, delivered) of the rows that are not as they should be."""
    assert len(rows) == len(true_rows())
    return [(true, row) for true, row in zip(true_rows(), rows, strict=True) if true != row]


def one_differs(rows: Rows, is_so: Callable[[list[Any], list[Any]], bool]) -> bool:
    return len(differing(rows)) == 1 and is_so(*differing(rows)[0])


def is_twice(rows: Rows, has_same_close: bool) -> bool:
    times = times_of(rows)
    at = next(row for row in range(1, len(times)) if times[row] == times[row - 1])
    without = rows[: at - 1] + rows[at:]
    return without == true_rows() and (rows[at][4] == rows[at - 1][4]) is has_same_close


def is_swapped(rows: Rows) -> bool:
    return times_of(rows) != times_of(true_rows()) and sorted(rows) == true_rows()


def lacks_an_inner_row(rows: Rows) -> bool:
    missing = [row for row in true_rows() if row not in rows]
    return (
        len(missing) == 1 and missing[0] not in (true_rows()[0], true_rows()[-1]) and len(rows) == len(true_rows()) - 1
    )


def ends_unfinished(rows: Rows) -> bool:
    (true, row), *others = differing(rows)
    return not others and true == true_rows()[-2] and float(row[5]) == pytest.approx(float(true[5]) / 2)


PAGES: dict[FaultKind, Callable[[Rows], bool]] = {
    FaultKind.EMPTY_PAGE: lambda rows: rows == [],
    FaultKind.DUPLICATED_ROW: lambda rows: is_twice(rows, has_same_close=True),
    FaultKind.CONFLICTING_ROW: lambda rows: is_twice(rows, has_same_close=False),
    FaultKind.OUT_OF_ORDER: is_swapped,
    FaultKind.BEFORE_SINCE: lambda rows: rows[3:] == true_rows() and max(times_of(rows[:3])) < true_rows()[0][0],
    FaultKind.SHORT_PAGE: lambda rows: rows == true_rows()[: len(true_rows()) // 2],
    FaultKind.MISSING_ONCE: lacks_an_inner_row,
    FaultKind.OFF_GRID: lambda rows: one_differs(rows, lambda true, row: 0 < row[0] - true[0] < HOUR_MS),
    FaultKind.HIGH_BELOW_LOW: lambda rows: one_differs(rows, lambda _, row: float(row[2]) < float(row[3])),
    FaultKind.NEGATIVE_PRICE: lambda rows: one_differs(rows, lambda _, row: float(row[3]) < 0),
    FaultKind.NULL_PRICE: lambda rows: one_differs(rows, lambda _, row: row[4] is None),
    FaultKind.WRONG_TIME_UNIT: lambda rows: times_of(rows) == [ts // 1_000 for ts in times_of(true_rows())],
    FaultKind.UNCLOSED_AS_CLOSED: ends_unfinished,
}


def test_the_true_page_holds_the_closed_bars_and_the_running_one() -> None:
    assert times_of(true_rows()) == [START_MS + hour * HOUR_MS for hour in range(10, 201)]


@pytest.mark.parametrize("kind", REPLIES)
def test_a_fault_of_a_reply_is_what_it_says(kind: FaultKind) -> None:
    assert REPLIES[kind](answers(always(kind), KLINES)[0])


@pytest.mark.parametrize("kind", PAGES)
def test_a_fault_of_a_page_is_what_it_says(kind: FaultKind) -> None:
    plan = always(kind)
    assert PAGES[kind](answers(plan, KLINES)[0].rows)
    assert plan.counts == {kind: 1}


@pytest.mark.parametrize("kind", [*REPLIES, *PAGES])
def test_after_two_faults_in_a_row_a_request_gets_through(kind: FaultKind) -> None:
    """Two are spoiled, the third is right, and the count of injected faults says so."""
    plan = always(kind)
    seen = answers(plan, KLINES, count=6)
    right = [answer.status == 200 and is_json(answer.body) and answer.rows == true_rows() for answer in seen]
    assert right == [False, False, True] * 2
    assert plan.counts[kind] == 4


def test_no_answer_ends_the_connection_after_the_time_out() -> None:
    started = time.monotonic()
    with pytest.raises(aiohttp.ClientConnectionError):
        answers(always(FaultKind.NO_ANSWER, no_answer_s=0.2), KLINES)
    assert time.monotonic() - started > 0.2


def test_a_reset_comes_in_the_middle_of_the_body() -> None:
    async def ask() -> tuple[int, int]:
        async with server_of(always(FaultKind.RESET)) as server, aiohttp.ClientSession() as session:
            response = await session.get(server.url + KLINES)
            with pytest.raises((aiohttp.ClientPayloadError, ConnectionResetError)):
                await response.read()
            return response.status, response.content_length

    status, length = run(ask())
    assert (status, length) == (200, len(json.dumps(true_rows(), separators=(",", ":"))))


@pytest.mark.parametrize("venue", ["binance", "bybit", "okx", "kraken", "coinbase"])
def test_each_venue_says_busy_in_its_own_words(venue: str) -> None:
    path, words = {
        "binance": (KLINES, "Too many requests"),
        "bybit": ("/v5/market/time", '"retCode":10016'),
        "okx": ("/api/v5/public/time", '"code":"50013"'),
        "kraken": ("/0/public/Time", "EService:Busy"),
        "coinbase": ("/v2/time", "UNAVAILABLE"),
    }[venue]
    answer = answers(always(FaultKind.BUSY), path, venue=venue)[0]
    assert answer.status == 200
    assert words in answer.body


def test_a_crossed_book_bids_more_than_it_asks() -> None:
    crossed, _, right = (json.loads(answer.body) for answer in answers(always(FaultKind.CROSSED_BOOK), DEPTH, count=3))
    assert float(crossed["bids"][0][0]) > float(crossed["asks"][0][0])
    assert float(right["bids"][0][0]) < float(right["asks"][0][0])


def test_okx_marks_an_unclosed_bar_as_closed() -> None:
    plan = always(FaultKind.UNCLOSED_AS_CLOSED)
    path = "/api/v5/market/candles?instId=BTC-USDT&bar=1H&limit=3"
    wrong, _, right = answers(plan, path, count=3, venue="okx")
    assert [row[8] for row in json.loads(wrong.body)["data"]] == ["1", "1", "1"]
    assert [row[8] for row in json.loads(right.body)["data"]] == ["0", "1", "1"]


def test_a_revised_bar_is_wrong_once_and_right_ever_after() -> None:
    plan = FaultPlan({FaultKind.REVISED_ROW: 0.05}, seed=11)
    first, second, third = (answer.rows for answer in answers(plan, KLINES, count=3))
    wrong = differing(first)
    assert 0 < len(wrong) < 30
    assert all(true[0] == row[0] and true[4] != row[4] for true, row in wrong)
    assert second == third == true_rows()


@pytest.mark.parametrize("kind", [FaultKind.MISSING_ROW, FaultKind.OUTAGE])
def test_rows_that_are_missing_for_good_are_those_the_plan_tells(kind: FaultKind) -> None:
    plan = FaultPlan({kind: 0.1}, seed=5)
    hidden = plan.hidden(MARKET.candles())
    by_symbol = {str(symbol): set(rows["ts_event_ns"] // 1_000_000) for symbol, rows in hidden.groupby("symbol")}
    seen = [times_of(answer.rows) for answer in answers(plan, KLINES, count=3)]
    assert seen[0] == seen[1] == seen[2]
    assert set(times_of(true_rows())) - set(seen[0]) == {ts for ts in by_symbol["BTC/USDT"] if ts >= true_rows()[0][0]}
    assert 0 < len(seen[0]) < len(true_rows())
    assert (by_symbol["ETH/USDT"] == by_symbol["BTC/USDT"]) is (kind is FaultKind.OUTAGE)


def test_quiet_bars_are_left_out_and_no_others() -> None:
    candles = MARKET.candles()
    candles.loc[candles.index % 7 == 0, "volume"] = 0.0
    plan = FaultPlan({FaultKind.QUIET_ROW_LEFT_OUT: 1.0}, seed=5)
    rows = answers(plan, KLINES, upstream=FrameExchange(candles, HOUR))[0].rows
    hidden = plan.hidden(candles)
    assert set(hidden.index) == set(candles.index[candles["volume"] == 0])
    assert all(float(row[5]) > 0 for row in rows[:-1])
    assert len(rows) < len(true_rows())


def test_a_symbol_that_vanishes_is_unknown_from_then_on() -> None:
    """And off the list; what closed before could be had before."""

    async def watch() -> list[tuple[int, int, int]]:
        clock = FixedClock(CONFIG.end_ns - 10 * HOUR.ns)
        plan = always(FaultKind.VANISHED_SYMBOL, vanish_at_ns=CONFIG.end_ns - 5 * HOUR.ns)
        hidden = plan.hidden(MARKET.candles()).groupby("symbol").size().tolist()
        assert hidden == [6, 6, 6]  # the bar that closes at that time is known only when the symbol is not
        seen = []
        async with server_of(plan, clock=clock) as server, aiohttp.ClientSession() as session:
            for _ in range(2):
                klines = await get(server, KLINES, session)
                listed = json.loads((await get(server, "/api/v3/exchangeInfo", session)).body)["symbols"]
                code = 0 if klines.status == 200 else json.loads(klines.body)["code"]
                seen.append((klines.status, code, len(listed)))
                clock.advance(5 * HOUR.ns)
        return seen

    assert run(watch()) == [(200, 0, 3), (400, -1121, 0)]


async def drained(socket: Any) -> None:
    """Read what is on its way; a message every 20 ms would be more than that."""
    for _ in range(10):
        await asyncio.wait_for(socket.receive_str(), 0.5)


def test_the_stream_of_a_symbol_that_vanishes_falls_silent() -> None:
    async def follow() -> int:
        clock = FixedClock(CONFIG.end_ns - 1)
        plan = always(FaultKind.VANISHED_SYMBOL, vanish_at_ns=CONFIG.end_ns)
        async with (
            server_of(plan, "kraken", clock=clock) as server,
            aiohttp.ClientSession() as session,
            session.ws_connect(server.url.replace("http", "ws", 1) + "/v2") as socket,
        ):
            await socket.send_json(KRAKEN_BOOK)
            heard = [await socket.receive_str() for _ in range(5)]
            clock.advance(1)
            with pytest.raises(TimeoutError):
                await drained(socket)
            return len(heard)

    assert run(follow()) == 5


def test_a_late_bar_appears_minutes_after_its_close() -> None:
    async def watch() -> list[int]:
        clock = FixedClock(CONFIG.end_ns)
        plan = always(FaultKind.LATE_ROW, late_by_s=120)
        newest = []
        async with server_of(plan, clock=clock) as server, aiohttp.ClientSession() as session:
            for _ in range(3):
                rows = (await get(server, KLINES, session)).rows
                newest.append((rows[-2][0] - START_MS) // HOUR_MS)
                clock.advance(60 * NS_PER_S)
        assert plan.hidden(MARKET.candles()).empty
        return newest

    assert run(watch()) == [198, 198, 199]


@pytest.mark.parametrize(("kind", "sign"), [(FaultKind.CLOCK_AHEAD, 1), (FaultKind.CLOCK_BEHIND, -1)])
def test_a_clock_that_is_off_shows_in_server_time_and_date(kind: FaultKind, sign: int) -> None:
    """By what was asked for, else by a second to a day; the candles are those of the true time."""
    plan = always(kind, clock_skew_s=90.0)
    answer = answers(plan, "/api/v3/time")[0]
    assert json.loads(answer.body)["serverTime"] == CONFIG.end_ns // 1_000_000 + sign * 90_000
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == CONFIG.end_ns // NS_PER_S + sign * 90
    assert answers(plan, KLINES)[0].rows == true_rows()
    drawn = [sign * FaultPlan({kind: 1.0}, seed=seed).clock_offset_ns / NS_PER_S for seed in range(50)]
    assert 1 <= min(drawn) < 60
    assert 3_600 < max(drawn) <= 86_400


def stream(plan: FaultPlan | None, venue: str = "kraken", count: int = 8) -> list[dict[str, Any]]:
    """The messages after acknowledgement and snapshot; fewer where the connection is closed."""
    path, subscription = {"kraken": ("/v2", KRAKEN_BOOK), "okx": ("/ws/v5/public", OKX_BOOK)}[venue]

    async def follow() -> list[dict[str, Any]]:
        async with (
            server_of(plan, venue) as server,
            aiohttp.ClientSession() as session,
            session.ws_connect(server.url.replace("http", "ws", 1) + path) as socket,
        ):
            await socket.send_json(subscription)
            received = [await socket.receive() for _ in range(count + 2)]
        texts = [message.data for message in received if message.type is aiohttp.WSMsgType.TEXT]
        return [json.loads(text)["data"][0] for text in texts[2:]]

    return run(follow())


@cache
def true_book(venue: str) -> list[dict[str, Any]]:
    return stream(None, venue)


def test_streams_repeat_exactly() -> None:
    """Books and trades are a function of the venue and the symbol, whenever they are followed."""
    assert stream(None) == true_book("kraken")


def test_a_dropped_message_leaves_a_hole_in_the_sequence() -> None:
    """The first two never come; the third does not continue the snapshot."""
    first = stream(always(FaultKind.DROPPED_MESSAGE), "okx", count=1)[0]
    assert first == true_book("okx")[2]


def test_a_duplicated_message_comes_twice() -> None:
    seen = stream(always(FaultKind.DUPLICATED_MESSAGE), "okx", count=5)
    assert [true_book("okx").index(message) for message in seen] == [0, 0, 1, 1, 2]


def test_a_reordered_message_comes_after_the_next() -> None:
    seen = stream(always(FaultKind.REORDERED_MESSAGE, max_consecutive=1), "okx", count=4)
    assert [true_book("okx").index(message) for message in seen] == [1, 0, 3, 2]


def test_a_closed_stream_ends() -> None:
    assert stream(always(FaultKind.CLOSED_STREAM), count=3) == []


@pytest.mark.parametrize("venue", ["kraken", "okx"])
def test_a_wrong_checksum_is_all_that_is_wrong(venue: str) -> None:
    seen = stream(always(FaultKind.WRONG_CHECKSUM), venue, count=3)
    for message, true in zip(seen, true_book(venue), strict=False):
        assert {**message, "checksum": 0} == {**true, "checksum": 0}
    changes = [message["checksum"] != true["checksum"] for message, true in zip(seen, true_book(venue), strict=False)]
    assert changes == [True, True, False]


def test_a_crossed_stream_bids_more_than_its_best_ask() -> None:
    plan = always(FaultKind.CROSSED_STREAM_BOOK)
    first, true = stream(plan, "okx", count=1)[0], true_book("okx")[0]
    extra = [level for level in first["bids"] if level not in true["bids"]]
    assert len(extra) == 1
    true_bids = [float(level[0]) for level in true["bids"]]
    assert float(extra[0][0]) > max([*true_bids, 0.0])
    assert {**first, "bids": []} == {**true, "bids": []}


def test_every_kind_is_observed_in_this_file_and_says_what_it_is() -> None:
    elsewhere = {
        *(FaultKind.NO_ANSWER, FaultKind.RESET, FaultKind.CROSSED_BOOK, FaultKind.REVISED_ROW, FaultKind.LATE_ROW),
        *(FaultKind.MISSING_ROW, FaultKind.OUTAGE, FaultKind.QUIET_ROW_LEFT_OUT, FaultKind.VANISHED_SYMBOL),
        *(FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BEHIND),
        *(kind for kind in FaultKind if kind.scope is FaultScope.MESSAGE),
    }
    assert {*REPLIES, *PAGES, *elsewhere} == set(FaultKind)
    assert len(FaultKind) == 40
    assert all(kind.description for kind in FaultKind)
    assert {kind for kind in FaultKind if not kind.is_recoverable} == {
        *(FaultKind.MISSING_ROW, FaultKind.OUTAGE, FaultKind.QUIET_ROW_LEFT_OUT, FaultKind.VANISHED_SYMBOL),
    }


MIX = dict.fromkeys([*REPLIES, *PAGES], 0.03)


def test_the_same_seed_gives_the_same_faults() -> None:
    """Answer for answer; another seed gives others. What another symbol is asked does not matter."""

    async def ask(seed: int, disturbs: bool) -> list[tuple[int, str]]:
        async with server_of(FaultPlan(MIX, seed=seed)) as server, aiohttp.ClientSession() as session:
            seen = []
            for _ in range(40):
                if disturbs:
                    await get(server, KLINES.replace("BTC", "ETH"), session)
                answer = await get(server, KLINES, session)
                seen.append((answer.status, answer.body))
            return seen

    first = run(ask(1, disturbs=False))
    assert len(set(first)) > 5
    assert first == run(ask(1, disturbs=True))
    assert first != run(ask(2, disturbs=False))


def test_rates_are_kept_and_counted() -> None:
    plan = FaultPlan(MIX, seed=9)
    seen = answers(plan, KLINES, count=150)
    wrong = sum(answer.status != 200 or not is_json(answer.body) or answer.rows != true_rows() for answer in seen)
    assert wrong == plan.counts.total()
    assert 0.45 < wrong / 150 < 0.75  # 23 kinds at 3 %, less those that the limit on streaks spares


def test_a_share_of_rows_is_hidden_whatever_else_is_asked() -> None:
    candles = MARKET.candles()
    plan = FaultPlan({FaultKind.MISSING_ROW: 0.2}, seed=1)
    hidden = plan.hidden(candles)
    assert len(hidden) / len(candles) == pytest.approx(0.2, abs=0.05)
    part = candles.iloc[100:300]
    assert np.array_equal(plan.hidden(part).index, hidden.index[hidden.index.isin(part.index)])
    assert FaultPlan({}, seed=1).hidden(candles).empty
    twice = pd.concat([candles, candles])  # an index with repetitions
    assert len(plan.hidden(twice)) == 2 * len(hidden)


def test_the_order_in_which_kinds_are_given_does_not_matter() -> None:
    plans = [FaultPlan(kinds, seed=4) for kinds in (MIX, dict(reversed(MIX.items())))]
    draws = [[plan.draw("lane", MIX) for _ in range(100)] for plan in plans]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    "kinds",
    [
        {FaultKind.GARBAGE: 1.5},
        {FaultKind.GARBAGE: -0.1},
        {FaultKind.GARBAGE: 0.6, FaultKind.SHORT_PAGE: 0.6},
        {FaultKind.CLOCK_AHEAD: 0.6, FaultKind.CLOCK_BEHIND: 0.6},
    ],
)
def test_rates_that_cannot_be_are_refused(kinds: dict[FaultKind, float]) -> None:
    with pytest.raises(InputError, match="fault plan"):
        FaultPlan(kinds, seed=0)
