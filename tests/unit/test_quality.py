"""The quality gate: bad rows are set aside with reasons, bad tables stop everything, and pages are left for people."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ratchet.data.quality import (
    GreatExpectationsGate,
    QualityPolicy,
    QualityReport,
    expectations,
    validate_data_quality,
)
from ratchet.data.quality.candles import candle_suite
from ratchet.data.quality.checks import broken_checks
from ratchet.data.quality.rows import Rows
from ratchet.errors import DataQualityError
from ratchet.market import Timeframe
from tests.candle_paths import HOUR, START_NS, random_candles

ROOT = Path(__file__).resolve().parents[2]
CANDLES = pd.concat(
    [random_candles(300, seed=seed, symbol=symbol) for seed, symbol in enumerate(["BTC/USDT", "ETH/USDT"])],
    ignore_index=True,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One context for all tests of the module, so that each test also proves that the folder can be used again."""
    return tmp_path_factory.mktemp("quality") / "a folder"


def _with(candles: pd.DataFrame, row: int, **values: float) -> pd.DataFrame:
    changed = candles.copy()
    for name, value in values.items():
        changed.loc[row, name] = value
    return changed


def _broken(candles: pd.DataFrame, timeframe: Timeframe = HOUR) -> dict[str, list[int]]:
    """Return the rows that break each check, by the check's name."""
    suite = candle_suite(timeframe, QualityPolicy())
    found: dict[str, list[int]] = {}
    for check, positions in broken_checks(Rows(candles, suite.derived), suite.checks):
        found[check.name] = sorted({*found.get(check.name, []), *positions.tolist()})
    return found


def _critical(report: QualityReport) -> set[str]:
    return {failure.check for failure in report.failures if failure.severity == "critical"}


SWAPPED = CANDLES.iloc[[*range(7), 8, 7, *range(9, len(CANDLES))]].reset_index(drop=True)
DEFECTS: dict[str, tuple[pd.DataFrame, dict[str, list[int]]]] = {
    "none": (CANDLES, {}),
    "a missing number": (_with(CANDLES, 7, close=np.nan), {"not_missing": [7]}),
    "an infinite number": (_with(CANDLES, 7, high=np.inf), {"finite": [7]}),
    "a high inside the bar": (_with(CANDLES, 7, high=1e-3, low=1e-3), {"high_is_highest": [7]}),
    "a low inside the bar": (_with(CANDLES, 7, high=1e6, low=1e6), {"low_is_lowest": [7]}),
    "a negative volume": (_with(CANDLES, 7, volume=-0.5), {"volume_not_negative": [7]}),
    "a negative price": (_with(CANDLES, 7, low=-1.0), {"positive_price": [7]}),
    "a price of zero": (_with(CANDLES, 7, open=0.0, low=0.0), {"zero_price": [7]}),
    "minus infinity": (_with(CANDLES, 7, low=-np.inf), {"positive_price": [7], "finite": [7]}),
    "a duplicate bar": (pd.concat([CANDLES.iloc[:8], CANDLES.iloc[7:]]), {"unique_bar": [7, 8]}),
    "a time off the grid": (_with(CANDLES, 7, ts_event_ns=START_NS + 7 * HOUR.ns + 1), {"on_grid": [7]}),
    "a broken order": (SWAPPED, {"ascending": [8]}),
    "no symbol": (_with(CANDLES, 7, symbol=np.nan), {"symbol_named": [7], "missing_bars": [8]}),
    "an outage": (CANDLES.drop(index=[7, 8]), {"missing_bars": [7]}),
    "symbols in turns": (CANDLES.sort_values("ts_event_ns", kind="stable"), {}),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_check_finds_its_rows(defect: str) -> None:
    """Each defect is found by its check, in its rows, and by no other check."""
    candles, expected = DEFECTS[defect]
    assert _broken(candles) == expected


def test_days_may_start_at_a_venues_own_hour() -> None:
    """Daily bars that open at 16:00 UTC are on their grid, an odd one among them is not; hours must be whole."""
    day = Timeframe.parse("1d")
    candles = random_candles(20, seed=1).assign(ts_event_ns=START_NS + np.arange(20) * day.ns + 16 * HOUR.ns)
    assert _broken(candles, day) == {}
    assert _broken(_with(candles, 4, ts_event_ns=candles["ts_event_ns"][4] + HOUR.ns), day) == {"on_grid": [4]}
    assert _broken(random_candles(3, seed=1).assign(ts_event_ns=lambda c: c["ts_event_ns"] + 1)) == {
        "on_grid": [0, 1, 2]
    }


def test_good_candles_pass_untouched(root: Path) -> None:
    """Candles without a defect pass; all rows are good, and an HTML page says so."""
    before = CANDLES.copy()
    report, good, quarantined = GreatExpectationsGate(root).check(CANDLES, timeframe=HOUR)
    assert report.passed
    assert report.failures == ()
    assert (report.n_rows, report.n_quarantined) == (600, 0)
    pd.testing.assert_frame_equal(good, before)
    pd.testing.assert_frame_equal(CANDLES, before)
    assert quarantined.empty
    assert report.docs_path is not None
    assert "Expectation" in Path(report.docs_path).read_text()
    assert (root / "gx" / "uncommitted" / "data_docs" / "local_site" / "index.html").is_file()


def test_bad_rows_are_quarantined_with_their_reasons(root: Path) -> None:
    """Every kind of defective row goes to quarantine with all its reasons, the others pass in their order."""
    candles = _with(_with(_with(CANDLES, 3, close=np.nan), 4, high=np.inf, volume=-1), 5, high=1e-3, low=1e-3)
    candles = _with(candles, 306, high=1e6, low=1e6)
    report, good, quarantined = GreatExpectationsGate(root, QualityPolicy(max_quarantined_share=4 / 600)).check(
        candles, timeframe=HOUR
    )
    assert report.passed
    assert quarantined["reason"].tolist() == [
        "not_missing: close is missing",
        "finite: high is not finite; volume_not_negative: volume is negative",
        "high_is_highest: high is below open; high_is_highest: high is below close",
        "low_is_lowest: low is above open; low_is_lowest: low is above close",
    ]
    bad = [3, 4, 5, 306]
    pd.testing.assert_frame_equal(quarantined.drop(columns="reason"), candles.iloc[bad].reset_index(drop=True))
    pd.testing.assert_frame_equal(good, candles.drop(index=bad).reset_index(drop=True))
    assert report.n_quarantined == 4
    assert report.failures[-1].sample == ("BTC/USDT 2024-01-01T04:00:00Z volume=-1.0",)


def test_critical_defects_fail_the_gate(root: Path) -> None:
    """Every critical check fails the gate by its name, and the rows concerned are kept apart."""
    candles = pd.concat([_with(SWAPPED, 20, low=-np.inf), CANDLES.iloc[[599]]], ignore_index=True)
    candles = _with(_with(candles, 30, symbol=np.nan), 40, ts_event_ns=START_NS + 40 * HOUR.ns + 5)
    report, good, quarantined = GreatExpectationsGate(root, QualityPolicy(max_quarantined_share=0.1)).check(
        candles, timeframe=HOUR
    )
    assert not report.passed
    assert _critical(report) == {"ascending", "positive_price", "unique_bar", "symbol_named", "on_grid"}
    pd.testing.assert_frame_equal(
        quarantined.drop(columns="reason"), candles.iloc[[8, 20, 30, 40, 599, 600]].reset_index(drop=True)
    )
    assert len(good) == len(candles) - 6


def test_too_many_bad_rows_fail_the_gate(root: Path) -> None:
    """One row more than the allowed share fails, and the report says by how much; a share that is none is refused."""
    candles = CANDLES.assign(volume=CANDLES["volume"].mask(CANDLES.index < 4))
    report, _, quarantined = GreatExpectationsGate(root, QualityPolicy(max_quarantined_share=3.9 / 600)).check(
        candles, timeframe=HOUR
    )
    assert _critical(report) == {"quarantined_share"}
    assert "4 of 600 rows are bad (0.67%); at most 0.65% may be" in report.failures[-1].reason
    assert len(quarantined) == 4
    with pytest.raises(ValidationError, match="share"):
        QualityPolicy(max_quarantined_share=1.5)


def test_rows_that_only_the_engine_finds_fail_the_gate(root: Path) -> None:
    """Where a check overlooks rows that Great Expectations finds, the difference is a critical failure."""
    suite = candle_suite(HOUR, QualityPolicy())
    rows = Rows(_with(CANDLES, 7, low=-1.0), suite.derived)
    frame = expectations._with_derived(rows, suite)
    verdicts, _ = GreatExpectationsGate(root)._run(frame, suite, suite.checks)
    assert expectations._disagreements(verdicts, suite.checks, broken_checks(rows, suite.checks)) == []
    (failure,) = expectations._disagreements(verdicts, suite.checks, [])
    assert (failure.check, failure.severity) == ("engine_agreement", "critical")
    assert failure.reason == "Great Expectations gives 1 rows for positive_price, the check itself 0 rows"


def test_half_written_files_do_not_stop_the_gate(tmp_path: Path) -> None:
    """Whatever a killed run left behind, cut in half or emptied, the next run over the folder works."""
    gate = GreatExpectationsGate(tmp_path)
    gate.check(CANDLES, timeframe=HOUR)
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".yml", ".json", ".html") or path.name[0] == "."]
    for number, path in enumerate(filter(Path.is_file, files)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 * (number % 2)])
    assert gate.check(CANDLES, timeframe=HOUR)[0].passed


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    """The folder keeps the pages of the latest runs only, so that it neither grows nor slows for ever."""
    gate = GreatExpectationsGate(tmp_path, n_kept_runs=1)
    paths = [gate.check(CANDLES, timeframe=HOUR)[0].docs_path for _ in range(2)]
    assert [Path(path or "").is_file() for path in paths] == [False, True]


def test_quarantined_rows_are_on_disk_before_the_error(root: Path, tmp_path: Path) -> None:
    """A failed gate raises one line with check, row, reason and file; the file holds the rows with their reasons."""
    candles = _with(CANDLES, 7, low=-1.0)
    with pytest.raises(DataQualityError) as caught:
        validate_data_quality(candles, GreatExpectationsGate(root), timeframe=HOUR, quarantine_folder=tmp_path / "q")
    (file,) = (tmp_path / "q").iterdir()
    message = str(caught.value)
    assert "positive_price in 1 row (BTC/USDT 2024-01-01T07:00:00Z low=-1.0): low is not above 0" in message
    assert str(file) in message
    assert "\n" not in message
    kept = pd.read_parquet(file)
    assert kept["reason"].item() == "positive_price: low is not above 0"
    pd.testing.assert_frame_equal(kept.drop(columns="reason"), candles.iloc[[7]].reset_index(drop=True))


TABLES: dict[str, tuple[pd.DataFrame, str]] = {
    "a missing column": (CANDLES.drop(columns="volume"), "column_present: the column volume is missing"),
    "text for numbers": (CANDLES.assign(close=CANDLES["close"].map(str)), "column_type: the column close holds"),
    "no rows": (CANDLES.iloc[:0], "not_empty: there are no rows"),
}


@pytest.mark.parametrize("defect", TABLES)
def test_a_table_that_cannot_be_judged_is_named_in_one_line(root: Path, tmp_path: Path, defect: str) -> None:
    """A wrong table ends in one line as well, and all of its rows are kept."""
    candles, expected = TABLES[defect]
    with pytest.raises(DataQualityError, match=f"failed the quality gate: {expected}") as caught:
        validate_data_quality(candles, GreatExpectationsGate(root), timeframe=HOUR, quarantine_folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert sum(len(pd.read_parquet(file)) for file in tmp_path.iterdir()) == len(candles)


def test_a_passed_gate_returns_the_good_rows(root: Path, tmp_path: Path) -> None:
    """Good rows come back, bad ones are on disk."""
    candles = _with(CANDLES, 7, volume=-1)
    report, good = validate_data_quality(
        candles, GreatExpectationsGate(root), timeframe=HOUR, quarantine_folder=tmp_path
    )
    assert (report.passed, report.n_quarantined, len(good)) == (True, 1, 599)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_engine_is_loaded_and_heard_only_when_used(tmp_path: Path) -> None:
    """Importing the gate does not import Great Expectations; a run prints nothing, draws no bar and sends nothing."""
    script = f"""
import socket, sys
from pathlib import Path
from ratchet.data.quality import GreatExpectationsGate
from tests.candle_paths import HOUR, random_candles
assert "great_expectations" not in sys.modules
def refuse(*args, **kwargs):
    raise AssertionError(args)
socket.getaddrinfo = refuse
report, _, _ = GreatExpectationsGate(Path({str(tmp_path)!r})).check(random_candles(50, seed=1), timeframe=HOUR)
assert report.passed
"""
    environment = {name: value for name, value in os.environ.items() if name != "GX_ANALYTICS_ENABLED"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "analytics_enabled: false" in (tmp_path / "gx" / "great_expectations.yml").read_text()
