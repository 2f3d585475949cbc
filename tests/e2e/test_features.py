"""Features as a user works with them: every command of `ratchet features`, an exchange on a port, a real Redis."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.e2e.workshop import Home, free_port
from tests.redis_server import RedisServer

TWO = "BTC/USDT,ETH/USDT"
VENUE = "binance-at-127-0-0-1"
COMPILING_S = 500


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An exchange that trades now, in Binance's dialect."""
    home, port = Home(tmp_path_factory.mktemp("exchange")), free_port()
    process = home.start("data", "exchange", "--port", str(port), "--market", "simulated://?bars=900&symbols=3")
    log = home.folder / "command.log"
    home.wait_for(lambda: "collect from it" in log.read_text(), timeout_s=60, process=process)
    yield f"binance://?url=http://127.0.0.1:{port}/binance"
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(20) == 0


def features(home: Home, *arguments: str, as_json: bool = True) -> Any:
    """Return what `ratchet features ARGUMENTS` prints."""
    result = home.run("features", *arguments, *(["--json"] if as_json else []), timeout_s=COMPILING_S)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout) if as_json else result.stdout


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(1_500)
def test_a_venue_is_followed_and_every_host_repeats_what_was_recorded(
    source: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    options = ("--symbols", TWO, "--timeframe", "1h")
    live = features(home, "stream", *options, "--source", source, "--set", "core", "--every-event", "--seconds", "4")
    assert live["view"] == f"{VENUE}-1h-core"
    assert live["rows"] > 1_000
    assert live["late"] == live["poison"] == 0
    collected = home.run("data", "collect", "--source", source, "--symbols", TWO, timeout_s=120)
    assert collected.returncode == 0, collected.stderr

    replayed = features(home, "replay", *options, "--venue", VENUE, "--every-event")
    assert replayed["rows"] > 1_000
    bus = ("--bus", redis_server.url, "--prefix", "e2e")
    features(home, "publish", *options, "--venue", VENUE, *bus, as_json=False)
    work = ("work", *options, "--venue", VENUE, *bus, "--every-event", "--seconds", "8")
    assert features(home, *work)["events"] >= replayed["rows"]
    stored = features(home, "rows", "--venue", VENUE, "--timeframe", "1h", *bus, "--keep")
    assert stored["rows"] == replayed["rows"]
    assert stored["digest"] == replayed["digest"]
    assert stored["kept"] >= 1_800

    place = ("--venue", VENUE, "--timeframe", "1h", *bus)
    with redis_server.client() as client:
        client.xadd("e2e:events:0", {"event": b"no event"})
    features(home, "work", *options, "--venue", VENUE, *bus, "--every-event", "--seconds", "4")
    (aside,) = features(home, "poison", *place)
    assert "no feature event" in aside["reason"]
    features(home, "forget", *place, as_json=False)
    assert home.run("features", "rows", *place, timeout_s=60).returncode == 7

    refused = home.run("features", "work", *options, "--venue", VENUE, *bus, "--set", "full", timeout_s=60)
    assert refused.returncode == 2
    assert "one partition" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_tables_are_built_listed_and_joined(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    collected = home.run("data", "collect", "--source", "simulated://?bars=700&symbols=3", "--json", timeout_s=120)
    venue = json.loads(collected.stdout)["venue"]
    build = ("build", "--venue", venue, "--symbols", TWO, "--set", "graph")
    first, second = features(home, *build), features(home, *build)
    assert first["n_rows"] == 1_400
    assert first["digest"] == second["digest"]
    (view,) = features(home, "views")
    assert view["n_rows"] == 1_400
    spine, out = tmp_path / "spine.csv", tmp_path / "out.csv"
    last = pd.Timestamp(view["last_event_ns"], tz="UTC")
    times = [str(last + pd.Timedelta(minutes=30)), str(last + pd.Timedelta(days=3))]
    pd.DataFrame({"symbol": ["BTC/USDT", "ETH/USDT"], "time": times}).to_csv(spine, index=False)
    name = f"{venue}-1h-graph"
    features(home, "join", str(spine), str(out), "--view", name, "--ttl", "2h", as_json=False)
    joined = pd.read_csv(out)
    assert joined["rsi_14"].notna().tolist() == [True, False]
    assert joined[f"{name}__ts_event_ns"][0] == view["last_event_ns"]


def test_the_catalogue_is_listed_and_shown(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    listed = features(home, "list", "--set", "core")
    assert len(listed) == 110
    assert features(home, "show", "spread_bps")["family"] == "book"
    assert "36" in features(home, "list", "--set", "full", as_json=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "astrology"), "no feature is called"),
        (("list", "--set", "astrology"), "base, graph"),
        (("check",), "in production"),
        (("audit",), "in production"),
        (("build", "--symbols", "BTC/USDT"), "collect first"),
        (("replay", "--symbols", "BTC/USDT"), "recorded or collected"),
        (("work", "--bus", "smoke://signals"), "no bus"),
        (("rows", "--bus", "redis://127.0.0.1:1"), "does not answer"),
        (("join", "nope.csv", "out.csv", "--view", "x"), "no feature view x"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_an_exit_code(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = Home(tmp_path / "home").run("features", *arguments, timeout_s=120)
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1, result.stderr
    assert said in lines[0]
    assert "Traceback" not in result.stderr
