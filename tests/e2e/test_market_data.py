"""Market data as a user works with it: an exchange on a port, and every command of `ratchet data`."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.e2e.workshop import Home, free_port

TWO = "BTC/USDT,ETH/USDT"


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


def data(home: Home, *arguments: str) -> Any:
    """Return what `ratchet data ARGUMENTS --json` prints."""
    result = home.run("data", *arguments, "--json", timeout_s=120)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def printed(home: Home, *arguments: str) -> str:
    result = home.run("data", *arguments, timeout_s=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.engine
def test_from_the_exchange_to_datasets(source: str, tmp_path: Path) -> None:
    """Collect twice, look, cut, judge, split, merge, compare and trace: each command does what its page says."""
    home = Home(tmp_path / "home")
    options = ("--source", source, "--symbols", TWO)
    first, second = data(home, "collect", *options), data(home, "collect", *options)
    assert [item["n_bars"] >= 899 for item in first["series"]] == [True, True]
    if second["series"][0]["end_ns"] == first["series"][0]["end_ns"]:  # unless an hour ended in between
        assert second["digest"] == first["digest"]
    assert {gap["kind"] for gap in data(home, "gaps")} == {"not_listed"}
    assert {row["symbol"] for row in data(home, "coverage")} == set(TWO.split(","))
    assert "BTC/USDT" in printed(home, "show", "BTC/USDT")
    for command in (("show", "ETH/USDT"), ("coverage",)):
        picture = tmp_path / f"{command[0]}.png"
        printed(home, *command, "--picture", str(picture))
        assert picture.read_bytes().startswith(b"\x89PNG")
    whole = printed(home, "save").split()[1]
    part = printed(home, "save", "--symbols", "BTC/USDT").split()[1]
    (report,) = data(home, "validate", whole)
    assert (report["table"], report["passed"], report["n_quarantined"]) == ("candles", True, 0)
    assert printed(home, "split", whole).count("dataset") == 3
    added = re.search(r"(\d+) bars added", printed(home, "merge", part, whole))
    assert added is not None
    assert int(added[1]) >= 899
    stored = {item["manifest"]["digest"][:16] for item in data(home, "list")}
    assert {whole, part} < stored
    assert data(home, "diff", part, whole)["symbols"][0]["symbol"] == "ETH/USDT"
    assert data(home, "lineage", whole)["steps"][0]["depth"] == 0


@pytest.mark.slow
@pytest.mark.engine
def test_the_loop_turns_on_a_venue(source: str, tmp_path: Path) -> None:
    """`ratchet run` on an exchange collects, cuts and judges the data, trains, and registers a version."""
    home = Home(tmp_path / "home")
    result = home.run("run", "--source", source, "--symbols", TWO, "--json", timeout_s=400)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["model_name"] == "binance-1h"
    assert report["dataset"]["source"].startswith("binance-at-")
    assert report["dataset"]["n_rows"] >= 2 * 899
    assert report["gate"]["verdict"] in {"approve", "reject", "inconclusive"}


@pytest.mark.slow
@pytest.mark.engine
def test_a_recorder_that_is_killed_goes_on(source: str, tmp_path: Path) -> None:
    """Killed in the middle, started again: files are whole, no sequence comes twice, the pause is a gap."""
    home = Home(tmp_path / "home")
    options = ("data", "record", "--source", source, "--symbols", "BTC/USDT")
    books = home.folder / "market" / "books"
    process = home.start(*options)
    home.wait_for(lambda: any(books.rglob("*")), timeout_s=60, process=process)
    time.sleep(4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    result = home.run(*options, "--seconds", "4", "--json", timeout_s=60)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["n_gaps"] >= 1
    events = pd.concat([pd.read_parquet(path) for path in sorted(books.rglob("*.parquet"))], ignore_index=True)
    deltas = events[events["kind"] == "delta"].drop_duplicates(["first_id", "last_id"])
    assert len(deltas) > 10
    assert deltas["last_id"].is_monotonic_increasing
    assert deltas["last_id"].is_unique


@pytest.mark.parametrize(
    ("arguments", "expected", "code"),
    [
        (["collect", "--source", "binanze://"], "binance://", 2),
        (["collect", "--source", "binance://?url=http://127.0.0.1:9/x", "--symbols", "BTC/USDT"], "binance", 10),
        (["collect", "--start", "yesterday"], "not a time", 2),
        (["collect", "--start", "2024-02-01", "--end", "2024-01-01"], "not after", 2),
        (["show", "BTC/USDT"], "stored", 7),
        (["save"], "stored", 7),
        (["validate", "0123"], "no dataset", 7),
        (["split", "0123", "--shares", "1,2"], "no dataset", 7),
        (["record"], "symbols", 2),
        (["replay", "none.gz", "--venue", "binance", "--symbol", "BTC/USDT"], "no such file", 2),
        (["exchange", "--venue", "nasdaq"], "nasdaq", 2),
    ],
)
def test_wrong_options_end_in_one_clear_line(arguments: list[str], expected: str, code: int, tmp_path: Path) -> None:
    """What cannot work is one line on stderr with its exit code, and nothing is stored."""
    home = Home(tmp_path / "home")
    result = home.run("data", *arguments, timeout_s=120)
    assert result.returncode == code, result.stderr
    assert expected in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list(home.folder.rglob("*.parquet"))
