"""Dataset snapshots: content-addressed, verified, whole after a crash."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.data.atomic import sha256_file, write_bytes
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import (
    load_books,
    load_candle_records,
    load_candles,
    load_manifest,
    load_trades,
    save_dataset,
)
from ratchet.errors import ArtifactError, InputError, NotFoundError
from ratchet.market import Timeframe
from ratchet.market.candles import RECORD_COLUMNS, as_candle_records
from tests.candle_paths import HOUR, START_NS, random_candles

ROOT = Path(__file__).resolve().parents[2]
_SAVE_FOREVER = """
import sys
from pathlib import Path
from ratchet.data.snapshots import save_dataset
from tests.candle_paths import HOUR, random_candles
for seed in range(int(sys.argv[2]), 10**9):
    save_dataset(Path(sys.argv[1]), random_candles(500, seed=seed), source=f"seed {seed}", timeframe=HOUR)
"""


def _two_symbols(n_bars: int = 40) -> pd.DataFrame:
    frames = [random_candles(n_bars, seed=seed, symbol=name) for seed, name in enumerate(["BTC/USDT", "XRP/USDT:USDT"])]
    return pd.concat(frames, ignore_index=True)


def _trades() -> pd.DataFrame:
    times_ns = START_NS + np.arange(6) * 1_000
    return pd.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts_event_ns": times_ns,
            "price": 100.0 + np.arange(6),
            "size": np.linspace(0.1, 0.6, 6),
            "side": np.array([1, -1] * 3, dtype=np.int8),
            "trade_id": [f"t{number}" for number in range(6)],
        }
    )


def _books() -> pd.DataFrame:
    books = pd.DataFrame({"symbol": "BTC/USDT", "ts_event_ns": START_NS + np.arange(3) * HOUR.ns})
    levels = {f"{side}_price_{level}": 100.0 - level for side in ("bid", "ask") for level in range(10)}
    return books.assign(**levels)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Candles, books and trades load with the values, types and order they were saved with."""
    candles = _two_symbols()
    ref = save_dataset(tmp_path, candles, source="test", timeframe=HOUR, books=_books(), trades=_trades())
    pd.testing.assert_frame_equal(load_candles(ref), candles)
    books, trades = load_books(ref), load_trades(ref)
    assert books is not None
    assert trades is not None
    pd.testing.assert_frame_equal(books, _books())
    pd.testing.assert_frame_equal(trades, _trades())


def test_the_manifest_describes_the_dataset(tmp_path: Path) -> None:
    """Symbols, rows, period and partitions are recorded; the period ends when the last bar closes."""
    ref = save_dataset(tmp_path, _two_symbols(), source="test", timeframe=HOUR)
    manifest = load_manifest(ref)
    assert manifest.symbols == ("BTC/USDT", "XRP/USDT:USDT")
    assert manifest.n_rows == {"BTC/USDT": 40, "XRP/USDT:USDT": 40}
    assert (manifest.start_ns, manifest.end_ns) == (START_NS, START_NS + 40 * HOUR.ns)
    assert Path(ref.uri) == tmp_path / "datasets" / ref.digest[:16]
    assert set(manifest.partitions) == {"candles/BTC-USDT/2024.parquet", "candles/XRP-USDT_USDT/2024.parquet"}
    stored = {path: partition.file_digest for path, partition in manifest.partitions.items()}
    assert {path: sha256_file(Path(ref.uri) / path) for path in stored} == stored
    assert manifest.known_at_ns == manifest.end_ns
    assert (manifest.parents, manifest.made_by, manifest.schema_version) == ((), "", 2)
    assert load_books(ref) is None
    assert load_trades(ref) is None


def test_the_same_content_is_stored_once(tmp_path: Path) -> None:
    """Saving equal content again, in another row order, gives the same reference and touches no file."""
    candles = _two_symbols()
    ref = save_dataset(tmp_path, candles, source="test", timeframe=HOUR)
    before = {path: path.stat().st_mtime_ns for path in Path(ref.uri).rglob("*")}
    assert save_dataset(tmp_path, candles.sample(frac=1, random_state=1), source="test", timeframe=HOUR) == ref
    assert {path: path.stat().st_mtime_ns for path in Path(ref.uri).rglob("*")} == before
    assert [path.name for path in (tmp_path / "datasets").iterdir() if path.name[0] != "."] == [ref.digest[:16]]


def test_any_difference_is_another_dataset(tmp_path: Path) -> None:
    """One value, the source, the timeframe, or an added table changes the digest."""
    candles = _two_symbols()
    changed = candles.assign(close=candles["close"].where(candles.index != 7, np.nextafter(candles["close"], np.inf)))
    refs = [
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR),
        save_dataset(tmp_path, changed, source="test", timeframe=HOUR),
        save_dataset(tmp_path, candles, source="other", timeframe=HOUR),
        save_dataset(tmp_path, candles, source="test", timeframe=Timeframe.parse("2h")),
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR, trades=_trades()),
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR, books=_books()),
    ]
    assert len({ref.digest for ref in refs}) == len(refs)


def test_schema_json_describes_the_manifest_and_the_columns(tmp_path: Path) -> None:
    """The manifest is valid by the JSON schema that lies beside it, which also names each table's column types."""
    jsonschema = pytest.importorskip("jsonschema")
    ref = save_dataset(tmp_path, _two_symbols(), source="test", timeframe=HOUR, trades=_trades())
    schema = json.loads((Path(ref.uri) / "schema.json").read_text())
    manifest = json.loads((Path(ref.uri) / "manifest.json").read_text())
    jsonschema.validate(manifest, schema["manifest"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "start_ns": "yesterday"}, schema["manifest"])
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), "float64")
    known = {"known_ns": "int64", "is_filled": "bool"}
    assert schema["tables"]["candles"] == {"symbol": "text", "ts_event_ns": "int64", **numbers, **known}
    assert schema["tables"]["trades"]["trade_id"] == "text"


def test_years_are_cut_at_midnight_utc(tmp_path: Path) -> None:
    """The bar that opens with the year begins the next partition; rows in any order come back sorted."""
    candles = random_candles(366 * 24 + 1, seed=1)
    ref = save_dataset(tmp_path, candles.sample(frac=1, random_state=1), source="test", timeframe=HOUR)
    rows = {path: (part.year, part.n_rows) for path, part in load_manifest(ref).partitions.items()}
    assert rows == {"candles/BTC-USDT/2024.parquet": (2024, 8_784), "candles/BTC-USDT/2025.parquet": (2025, 1)}
    pd.testing.assert_frame_equal(load_candles(ref), candles)


def test_candles_are_read_as_known_at_a_moment(tmp_path: Path) -> None:
    """By default every row is there; at an earlier moment only what was known then, which is the close by default."""
    candles = random_candles(10, seed=1)
    ref = save_dataset(tmp_path, candles, source="test", timeframe=HOUR)
    closed_ns = START_NS + 4 * HOUR.ns
    pd.testing.assert_frame_equal(load_candles(ref, known_at_ns=closed_ns), candles.head(4))
    assert len(load_candles(ref, known_at_ns=closed_ns - 1)) == 3
    assert load_candles(ref, known_at_ns=START_NS).empty
    late = candles["ts_event_ns"] + HOUR.ns + np.where(candles.index == 2, 30 * HOUR.ns, 0)
    revised = save_dataset(tmp_path, candles.assign(known_ns=late), source="test", timeframe=HOUR)
    assert load_manifest(revised).known_at_ns == int(late.max())
    pd.testing.assert_frame_equal(load_candles(revised), candles)
    assert load_candles(revised, known_at_ns=closed_ns)["ts_event_ns"].tolist() == [
        START_NS + row * HOUR.ns for row in (0, 1, 3)
    ]
    assert revised != ref


def test_records_carry_when_they_were_known_and_what_was_made_up(tmp_path: Path) -> None:
    """All record columns come back with their types; a made-up bar is another content than a traded one."""
    candles = random_candles(10, seed=1)
    records = as_candle_records(candles.assign(is_filled=candles.index == 3), HOUR)
    refs = [save_dataset(tmp_path, frame, source="test", timeframe=HOUR) for frame in (records, candles)]
    pd.testing.assert_frame_equal(load_candle_records(refs[0]), records)
    pd.testing.assert_frame_equal(load_candle_records(refs[1]), as_candle_records(candles, HOUR))
    assert list(load_candle_records(refs[0]).columns) == list(RECORD_COLUMNS)
    assert refs[0] != refs[1]


def test_rows_known_too_early_or_too_late_are_refused(tmp_path: Path) -> None:
    """A bar known before it closed, or after the dataset's own moment, is an InputError; a later moment is kept."""
    candles = random_candles(10, seed=1)
    end_ns = START_NS + 10 * HOUR.ns
    with pytest.raises(InputError, match="3 candles became known after 2024-01-01T07:00:00Z"):
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR, known_at_ns=end_ns - 3 * HOUR.ns)
    early = candles.assign(known_ns=candles["ts_event_ns"] + HOUR.ns - (candles.index == 4))
    with pytest.raises(InputError, match="BTC/USDT 2024-01-01T04:00:00Z: known_ns lies before the close"):
        save_dataset(tmp_path, early, source="test", timeframe=HOUR)
    ref = save_dataset(tmp_path, candles, source="test", timeframe=HOUR, known_at_ns=end_ns + 5)
    assert load_manifest(ref).known_at_ns == end_ns + 5


def test_columns_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    """A missing or unusable column is named in one line."""
    candles = random_candles(5, seed=1)
    with pytest.raises(InputError, match="have no column volume"):
        save_dataset(tmp_path, candles.drop(columns="volume"), source="test", timeframe=HOUR)
    with pytest.raises(InputError, match="column close holds object, not float64"):
        save_dataset(tmp_path, candles.assign(close="cheap"), source="test", timeframe=HOUR)
    patched = candles.assign(known_ns=candles["ts_event_ns"] + HOUR.ns, is_filled=False).astype({"is_filled": object})
    patched.loc[2, "is_filled"] = None
    with pytest.raises(InputError, match="column is_filled holds object, not bool"):
        save_dataset(tmp_path, patched, source="test", timeframe=HOUR)
    with pytest.raises(InputError, match="column known_ns holds float64, not int64"):
        save_dataset(tmp_path, patched.assign(known_ns=np.nan, is_filled=False), source="test", timeframe=HOUR)
    trades = _trades().assign(side=np.array([{"taker": "buy"}] * 6, dtype=object))
    with pytest.raises(InputError, match="trades: the column side holds neither"):
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR, trades=trades)
    books = _books().rename(columns={"ts_event_ns": "time"})
    with pytest.raises(InputError, match="books: needs a column ts_event_ns"):
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR, books=books)


def test_missing_values_survive(tmp_path: Path) -> None:
    """NaN and infinity come back; NaNs of different bits are the same content."""
    candles = random_candles(10, seed=1)
    volumes = [candles["volume"].to_numpy().copy() for _ in range(2)]
    for volume, bits in zip(volumes, (0x7FF8000000000000, 0x7FF8000000000123), strict=True):
        volume[3:4] = np.array([bits], dtype=np.int64).view(np.float64)
        volume[4] = np.inf
    assert volumes[0].tobytes() != volumes[1].tobytes()
    refs = [save_dataset(tmp_path, candles.assign(volume=volume), source="t", timeframe=HOUR) for volume in volumes]
    assert refs[0] == refs[1]
    loaded = load_candles(refs[0])["volume"]
    assert np.isnan(loaded[3])
    assert np.isposinf(loaded[4])


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_an_altered_partition_is_refused(tmp_path: Path, damage: str) -> None:
    """A changed, shortened or missing file is an ArtifactError that names it, on load and on saving again."""
    candles = _two_symbols()
    ref = save_dataset(tmp_path, candles, source="test", timeframe=HOUR)
    file = Path(ref.uri) / "candles" / "BTC-USDT" / "2024.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    if damage != "remove":
        file.write_bytes(data if damage == "flip" else data[:100])
    with pytest.raises(ArtifactError, match=r"BTC-USDT/2024\.parquet"):
        load_candles(ref)
    with pytest.raises(ArtifactError, match=r"BTC-USDT/2024\.parquet"):
        save_dataset(tmp_path, candles, source="test", timeframe=HOUR)


def test_a_forged_partition_is_refused(tmp_path: Path) -> None:
    """A partition swapped for another valid one is refused even where the manifest was adapted to its bytes."""
    ref = save_dataset(tmp_path, _two_symbols(), source="test", timeframe=HOUR)
    other = save_dataset(tmp_path, random_candles(40, seed=9), source="test", timeframe=HOUR)
    name = "candles/BTC-USDT/2024.parquet"
    payload = (Path(other.uri) / name).read_bytes()
    write_bytes(Path(ref.uri) / name, payload)
    manifest = json.loads((Path(ref.uri) / "manifest.json").read_text())
    manifest["partitions"][name]["file_digest"] = sha256_file(Path(ref.uri) / name)
    (Path(ref.uri) / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="not those that were stored"):
        load_candles(ref)


def test_a_misplaced_partition_is_refused(tmp_path: Path) -> None:
    """A manifest that gives a partition another table, symbol or year does not belong to the dataset."""
    ref = save_dataset(tmp_path, _two_symbols(), source="test", timeframe=HOUR)
    path = Path(ref.uri) / "manifest.json"
    text = path.read_text()
    for field, value in (("table", "books"), ("symbol", "ETH/USDT"), ("symbol", "../.."), ("year", 2023)):
        manifest = json.loads(text)
        manifest["partitions"]["candles/BTC-USDT/2024.parquet"][field] = value
        path.write_text(json.dumps(manifest))
        with pytest.raises(ArtifactError, match=r"manifest\.json"):
            load_manifest(ref)


@pytest.mark.parametrize("text", ["", "{}", '{"digest": 1}', "\x00"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """A manifest that is no manifest is an ArtifactError."""
    ref = save_dataset(tmp_path, _two_symbols(), source="test", timeframe=HOUR)
    (Path(ref.uri) / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        load_manifest(ref)


def test_a_wrong_reference_is_refused(tmp_path: Path) -> None:
    """A reference to nothing is not found; one with another digest does not load what lies there."""
    ref = save_dataset(tmp_path, _two_symbols(), source="test", timeframe=HOUR)
    with pytest.raises(NotFoundError, match="no such dataset"):
        load_candles(DatasetRef(uri=str(tmp_path / "absent"), digest=ref.digest))
    with pytest.raises(ArtifactError, match="does not belong"):
        load_candles(DatasetRef(uri=ref.uri, digest="0" * 64))


def test_what_cannot_be_a_dataset_is_refused(tmp_path: Path) -> None:
    """No rows, or a symbol in another spelling, are an InputError."""
    candles = random_candles(5, seed=1)
    with pytest.raises(InputError, match="no candles"):
        save_dataset(tmp_path, candles.iloc[:0], source="test", timeframe=HOUR)
    with pytest.raises(InputError, match="BTC/USDT"):
        save_dataset(tmp_path, candles.assign(symbol="btc/usdt"), source="test", timeframe=HOUR)


def test_concurrent_saves_agree(tmp_path: Path) -> None:
    """Eight savers of the same content at once all return the one dataset."""
    candles = _two_symbols()
    with ThreadPoolExecutor(8) as pool:
        saves = [pool.submit(save_dataset, tmp_path, candles, source="test", timeframe=HOUR) for _ in range(8)]
        refs = {save.result().digest for save in saves}
    (digest,) = refs
    assert [path.name for path in (tmp_path / "datasets").iterdir() if path.name[0] != "."] == [digest[:16]]


def test_a_killed_saver_leaves_no_half_dataset(tmp_path: Path) -> None:
    """A process killed again and again while saving leaves only datasets that load; the next save clears the rest."""
    delays = np.random.default_rng(11)
    n_staged = 0
    for attempt in range(6):
        n_before = len(_visible(tmp_path))
        command = [sys.executable, "-c", _SAVE_FOREVER, str(tmp_path), str(1_000_000 * attempt)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            while len(_visible(tmp_path)) == n_before and child.poll() is None:
                time.sleep(0.001)
            while not _staged(tmp_path) and child.poll() is None:
                pass
            time.sleep(delays.uniform(0.0, 0.02))
            child.kill()
        n_staged += len(_staged(tmp_path))
    visible = _visible(tmp_path)
    assert len(visible) >= 6
    assert n_staged > 0, "no kill hit a save, the test proves nothing"
    for folder in visible:
        digest = json.loads((folder / "manifest.json").read_text())["digest"]
        assert digest[:16] == folder.name
        assert len(load_candles(DatasetRef(uri=str(folder), digest=digest))) == 500
    save_dataset(tmp_path, random_candles(10, seed=1), source="after", timeframe=HOUR)
    assert _staged(tmp_path) == []


def _visible(root: Path) -> list[Path]:
    folder = root / "datasets"
    return [path for path in folder.iterdir() if path.name[0] != "."] if folder.exists() else []


def _staged(root: Path) -> list[Path]:
    return list((root / "datasets").glob(".stage-*"))
