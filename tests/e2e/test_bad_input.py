"""Input that cannot be used ends in one clear line and a non-zero exit, with nothing written to the registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.workshop import Home


def _candles(n_bars: int, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.005, n_bars)))
    opens = np.concatenate([[100.0], close[:-1]])
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC").astype(str),
            "open": opens,
            "high": np.maximum(opens, close) * 1.001,
            "low": np.minimum(opens, close) * 0.999,
            "close": close,
            "volume": rng.lognormal(3, 0.5, n_bars),
        }
    )


def _empty(folder: Path) -> list[str]:
    return [f"files:{folder}"]


def _no_such_path(folder: Path) -> list[str]:
    return [f"files:{folder / 'nowhere'}"]


def _no_time_column(folder: Path) -> list[str]:
    _candles(900).drop(columns="timestamp").to_csv(folder / "BTC_USDT-1h.csv", index=False)
    return [f"files:{folder}"]


def _negative_prices(folder: Path) -> list[str]:
    frame = _candles(900)
    frame.loc[[100, 101], ["open", "high", "low", "close"]] *= -1
    frame.to_csv(folder / "BTC_USDT-1h.csv", index=False)
    return [f"files:{folder}"]


def _overlapping_duplicates(folder: Path) -> list[str]:
    frame = _candles(900)
    frame.iloc[:600].to_csv(folder / "BTC_USDT-1h.csv", index=False)
    frame.iloc[500:].to_parquet(folder / "BTCUSDT_1h.parquet", index=False)
    return [f"files:{folder}"]


def _unknown_symbol(folder: Path) -> list[str]:
    _candles(900).to_csv(folder / "BTC_USDT-1h.csv", index=False)
    return [f"files:{folder}", "--symbols", "DOGE/USDT"]


def _short_history(folder: Path) -> list[str]:
    _candles(10).to_csv(folder / "BTC_USDT-1h.csv", index=False)
    return [f"files:{folder}"]


CASES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "empty folder": (_empty, "no candle file"),
    "no such path": (_no_such_path, "no such file or folder"),
    "no time column": (_no_time_column, "time column"),
    "negative prices": (_negative_prices, "2024-01-05T04:00:00Z"),
    "overlapping duplicates": (_overlapping_duplicates, "2024-01-21T20:00:00Z"),
    "unknown symbol": (_unknown_symbol, "DOGE/USDT"),
    "10 rows": (_short_history, "10 bars"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_in_one_clear_line(case: str, tmp_path: Path) -> None:
    """The command exits non-zero with one line that names the trouble, no traceback, and an empty registry."""
    make, expected = CASES[case]
    folder = tmp_path / "candles"
    folder.mkdir()
    home = Home(tmp_path / "home")
    result = home.run("run", "--source", *make(folder))
    errors = [line for line in result.stderr.splitlines() if line.startswith("error ")]
    assert result.returncode not in (0, None)
    assert len(errors) == 1, result.stderr
    assert expected in errors[0]
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not list((tmp_path / "home" / "registry").glob("*/v*"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--source", "ftp://x"], "neither files:PATH nor an exchange"),
        (["run", "--timeframe", "7x"], "timeframe"),
        (["run", "--symbols", "BTC-USDT"], "not a symbol"),
        (["run", "--model", "../x"], "model name"),
        (["run", "--preset", "huge"], "preset"),
        (["run", "--source", "simulated://?colour=red"], "colour"),
        (["registry", "show", "nothing"], "nothing"),
        (["predict", "BTC/USDT"], "ratchet serve"),
    ],
)
def test_wrong_options_end_in_one_clear_line(arguments: list[str], expected: str, tmp_path: Path) -> None:
    """Usage errors are caught before anything is started."""
    result = Home(tmp_path / "home").run(*arguments, timeout_s=60)
    assert result.returncode not in (0, None)
    assert expected in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
