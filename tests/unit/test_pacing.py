"""The pace of requests under a virtual clock: limits, pauses, order, and the circuit."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.clock import NS_PER_S
from ratchet.errors import UnavailableError
from ratchet.exchanges.pacing import HostLimit, HostPace, HostPaces
from ratchet.exchanges.retrying import backoff_s, retry_after_s

START_NS = 1_704_067_200 * NS_PER_S


class VirtualTime:
    """A clock whose sleepers wake in order, without any time passing."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.time_ns = start_ns
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_ns(self) -> int:
        return self.time_ns

    @property
    def elapsed_s(self) -> float:
        return (self.time_ns - START_NS) / NS_PER_S

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time_ns + round(seconds * NS_PER_S), next(self._order), future))
        await future

    async def run(self, *tasks: Awaitable[None]) -> None:
        """Run tasks to their ends, moving the clock whenever all of them sleep."""
        group = asyncio.gather(*tasks)
        while not group.done():
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleepers and not group.done():
                self.time_ns, _, future = heapq.heappop(self._sleepers)
                future.set_result(None)
        await group


def _sent(
    limit: HostLimit, weights: Sequence[float], *, gaps_s: Sequence[float] = (), pace: HostPace | None = None
) -> list[tuple[int, float, int]]:
    """Send requests of these weights at once, or after gaps; return (time, weight, number) in the order of sending."""
    time = VirtualTime()
    shared = pace or HostPace("api.example.org", limit)
    sent: list[tuple[int, float, int]] = []

    async def send(number: int, weight: float, after_s: float) -> None:
        await time.sleep(after_s)
        await shared.turn(weight, clock=time, sleep=time.sleep)
        sent.append((time.now_ns(), weight, number))

    starts = list(itertools.accumulate(gaps_s)) if gaps_s else [0.0] * len(weights)
    asyncio.run(time.run(*(send(n, w, s) for n, (w, s) in enumerate(zip(weights, starts, strict=True)))))
    return sent


def _most_in_any_window(sent: Sequence[tuple[int, float, int]], window_s: float) -> float:
    """Return the largest weight in any half-open window; one that begins at a request is always among the worst."""
    window_ns = round(window_s * NS_PER_S)
    return max(sum(w for t, w, _ in sent if start <= t < start + window_ns) for start, _, _ in sent)


@given(
    weight=st.integers(10, 300),
    window_s=st.floats(0.5, 60.0),
    requests=st.lists(
        st.tuples(st.floats(0.0, 1.0), st.sampled_from([0.0] * 9 + [0.3, 2.0])), min_size=20, max_size=80
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_window_holds_more_than_the_limit(weight: int, window_s: float, requests: list[tuple[float, float]]) -> None:
    """Whatever comes when, in bursts after rests, no window has more than its weight, wherever it starts."""
    limit = HostLimit(weight, window_s)
    weights = [max(1.0, share * limit.burst) for share, _ in requests]
    sent = _sent(limit, weights * 5, gaps_s=[gap * window_s for _, gap in requests] * 5)
    assert len(sent) == 5 * len(requests)
    assert _most_in_any_window(sent, window_s) <= limit.weight * (1 + 1e-6)


def test_a_steady_stream_uses_most_of_the_limit() -> None:
    """Nine tenths of the allowance are used in the long run: 3,000 requests of weight 2 at 6,000 a minute."""
    sent = _sent(HostLimit(6_000, 60.0), [2.0] * 5_700)
    assert (sent[-1][0] - sent[0][0]) / NS_PER_S == pytest.approx((11_400 - 600) / 5_400 * 60, rel=0.01)


def test_fifty_tasks_are_served_in_the_order_in_which_they_came() -> None:
    """Nobody is overtaken, whatever the weights."""
    sent = _sent(HostLimit(10, 1.0), [1.0 + number % 3 for number in range(50)])
    assert [number for _, _, number in sent] == list(range(50))


def test_a_heavier_request_takes_more_of_the_allowance() -> None:
    """Ten requests of weight 20 take twenty times the waiting of ten requests of weight 1, once the burst is gone."""
    limit = HostLimit(100, 10.0)
    light, heavy = (_sent(limit, [weight] * 40) for weight in (1.0, 10.0))
    light_s, heavy_s = ((sent[-1][0] - sent[0][0]) / NS_PER_S for sent in (light, heavy))
    assert heavy_s == pytest.approx(390 / 90 * 10, rel=0.01)
    assert light_s == pytest.approx(30 / 90 * 10, rel=0.01)


def test_everyone_waits_as_long_as_the_host_asks() -> None:
    """A pause of 45 s that begins while forty tasks wait holds all of them, and after it the limit still counts."""
    time = VirtualTime()
    limit = HostLimit(20, 10.0)
    pace = HostPace("api.example.org", limit)
    sent: list[tuple[int, float, int]] = []

    async def send(number: int) -> None:
        await pace.turn(1.0, clock=time, sleep=time.sleep)
        sent.append((time.now_ns(), 1.0, number))

    async def refuse() -> None:
        await time.sleep(3.0)
        pace.pause(45.0, now_ns=time.now_ns())
        pace.pause(5.0, now_ns=time.now_ns())

    asyncio.run(time.run(*(send(number) for number in range(40)), refuse()))
    offsets_s = [(sent_ns - START_NS) / NS_PER_S for sent_ns, _, _ in sent]
    assert not [offset for offset in offsets_s if 3.0 < offset < 48.0]
    assert [offset for offset in offsets_s if offset <= 3.0]
    assert len(sent) == 40
    assert _most_in_any_window(sent, limit.window_s) <= limit.weight


def test_a_long_ban_is_reported_instead_of_waited_for() -> None:
    """After 418 with a day, calls fail at once and say how long the host refuses; they work again after it."""
    time = VirtualTime()
    pace = HostPace("api.example.org", HostLimit(10, 1.0))
    pace.pause(86_400.0, now_ns=time.now_ns())
    with pytest.raises(UnavailableError, match=r"api\.example\.org refuses all requests for another 86400 s"):
        asyncio.run(time.run(pace.turn(1.0, clock=time, sleep=time.sleep)))
    time.time_ns += 86_401 * NS_PER_S
    asyncio.run(time.run(pace.turn(1.0, clock=time, sleep=time.sleep)))
    assert time.elapsed_s == pytest.approx(86_401.0, abs=0.5)


def test_weight_that_others_used_counts_too() -> None:
    """Where the host reports more than nine tenths used, everyone waits for its next minute."""
    time = VirtualTime(START_NS + 20 * NS_PER_S)
    pace = HostPace("api.binance.com", HostLimit(6_000, 60.0))
    pace.learn_used(5_400, now_ns=time.now_ns())
    asyncio.run(time.run(pace.turn(2.0, clock=time, sleep=time.sleep)))
    assert time.elapsed_s == 20.0
    pace.learn_used(5_401, now_ns=time.now_ns())
    asyncio.run(time.run(pace.turn(2.0, clock=time, sleep=time.sleep)))
    assert 60.0 <= time.elapsed_s < 60.1


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    """A day's step back costs no day: neither the bucket nor a pause stays in the future."""
    time = VirtualTime()
    pace = HostPace("api.example.org", HostLimit(10, 1.0))
    pace.pause(30.0, now_ns=time.now_ns())
    time.time_ns -= 86_400 * NS_PER_S
    asyncio.run(time.run(pace.turn(1.0, clock=time, sleep=time.sleep)))
    assert time.elapsed_s + 86_400 == pytest.approx(30.0, abs=1.0)


def test_adapters_of_one_host_share_its_pace() -> None:
    """The same host and limit give the same object, also to threads; another limit is another allowance."""
    paces = HostPaces()
    limit = HostLimit(600, 5.0)
    found: list[HostPace] = []
    threads = [threading.Thread(target=lambda: found.append(paces.of("api.bybit.com", limit))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(pace) for pace in found}) == 1
    assert paces.of("api.bybit.com", HostLimit(10, 1.0)) is not found[0]
    assert paces.of("api.okx.com", limit) is not found[0]


def test_the_circuit_opens_after_five_failures_and_closes_by_itself() -> None:
    """Five calls in a row that failed for good stop everything for 30 s; a later failure opens it again at once."""
    pace = HostPace("api.example.org", HostLimit(10, 1.0))
    for _ in range(4):
        pace.failed(now_ns=START_NS)
    pace.succeeded()
    for _ in range(5):
        pace.admit(now_ns=START_NS)
        pace.failed(now_ns=START_NS)
    with pytest.raises(UnavailableError, match="5 calls in a row failed; nothing is sent for another 20 s"):
        pace.admit(now_ns=START_NS + 10 * NS_PER_S)
    pace.admit(now_ns=START_NS + 30 * NS_PER_S)
    pace.failed(now_ns=START_NS + 30 * NS_PER_S)
    with pytest.raises(UnavailableError, match="6 calls in a row failed"):
        pace.admit(now_ns=START_NS + 31 * NS_PER_S)
    pace.succeeded()
    pace.admit(now_ns=START_NS + 61 * NS_PER_S)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), (" 0 ", 0.0), ("1.5", 1.5), ("", None), ("soon", None), ("-3", None), ("inf", None), ("nan", None)],
)
def test_retry_after_in_seconds(text: str, expected: float | None) -> None:
    """Numbers of seconds are read; what is none says nothing."""
    assert retry_after_s({"Retry-After": text} if text else {}, now_ns=START_NS) == expected


def test_retry_after_as_a_date_is_measured_against_the_hosts_own_clock() -> None:
    """A machine that is a day behind waits for 90 s all the same; without the host's date its own clock counts."""
    until = format_datetime(datetime(2024, 1, 1, 0, 1, 30, tzinfo=UTC), usegmt=True)
    sent = format_datetime(datetime(2024, 1, 1, tzinfo=UTC), usegmt=True)
    headers = {"Retry-After": until, "Date": sent}
    assert retry_after_s(headers, now_ns=START_NS - 86_400 * NS_PER_S) == 90.0
    assert retry_after_s({"Retry-After": until}, now_ns=START_NS + 30 * NS_PER_S) == 60.0
    assert retry_after_s({"Retry-After": sent, "Date": until}, now_ns=START_NS) == 0.0


def test_backoff_spreads_over_the_whole_range_and_is_capped() -> None:
    """Draws fill the range from 0 to half a second doubled each time, and to a minute at most."""
    for attempt, most_s in ((0, 0.5), (3, 4.0), (6, 32.0), (7, 60.0), (50, 60.0)):
        random = Random(attempt)  # noqa: S311
        draws = [backoff_s(attempt, random) for _ in range(400)]
        assert 0.0 <= min(draws) < 0.05 * most_s
        assert 0.95 * most_s < max(draws) <= most_s
    first, second = (backoff_s(4, Random(1)) for _ in range(2))  # noqa: S311
    assert first == second
