"""How datasets say where they come from, share files, and are compared."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import FixedClock
from ratchet.data.difference import diff_datasets
from ratchet.data.lineage import lineage
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import list_datasets, load_candles, load_manifest, save_dataset
from ratchet.errors import ArtifactError, NotFoundError
from tests.candle_paths import HOUR, START_NS, random_candles, without_rows

DAY_NS = 24 * HOUR.ns
ROWS_2024 = 366 * 24
NEW_YEAR_NS = START_NS + ROWS_2024 * HOUR.ns


def _save(root: Path, candles: pd.DataFrame, *parents: DatasetRef, made_by: str = "", at_ns: int = 0) -> DatasetRef:
    return save_dataset(
        root, candles, source="test", timeframe=HOUR, parents=parents, made_by=made_by, made_at_ns=at_ns
    )


def _two_years(seed: int = 1) -> pd.DataFrame:
    names = ["BTC/USDT", "ETH/USDT"]
    frames = [random_candles(ROWS_2024 + 48, seed=seed + k, symbol=name) for k, name in enumerate(names)]
    return pd.concat(frames, ignore_index=True)


def _inodes(ref: DatasetRef) -> dict[str, int]:
    return {path: os.stat(Path(ref.uri) / path).st_ino for path in load_manifest(ref).partitions}  # noqa: PTH116


def test_unchanged_partitions_are_shared(tmp_path: Path) -> None:
    """A version with one revised bar and one more day of a symbol writes two files; the others are the same files."""
    candles = _two_years()
    before = _save(tmp_path, candles)
    is_revised = (candles["symbol"] == "BTC/USDT") & (candles["ts_event_ns"] == START_NS)
    longer = pd.concat([candles, random_candles(ROWS_2024 + 72, seed=2, symbol="ETH/USDT").tail(24)])
    after = _save(tmp_path, longer.assign(volume=longer["volume"].where(~is_revised.reindex(longer.index), 1.0)))
    old, new = _inodes(before), _inodes(after)
    same = {path for path in old if new[path] == old[path]}
    assert same == {"candles/BTC-USDT/2025.parquet", "candles/ETH-USDT/2024.parquet"}
    assert len(load_candles(after)) == len(load_candles(before)) + 24


def test_an_altered_file_is_not_shared(tmp_path: Path) -> None:
    """Where the stored file was damaged, the new dataset gets a file of its own."""
    candles = _two_years()
    before = _save(tmp_path, candles)
    damaged = Path(before.uri) / "candles" / "BTC-USDT" / "2024.parquet"
    damaged.unlink()
    damaged.write_bytes(b"PAR1 no longer")
    after = _save(tmp_path, candles[candles["symbol"] == "BTC/USDT"])
    assert len(load_candles(after)) == ROWS_2024 + 48
    with pytest.raises(ArtifactError, match=r"BTC-USDT/2024\.parquet"):
        load_candles(before)


def test_equal_values_of_two_symbols_are_two_files(tmp_path: Path) -> None:
    """A file says whose rows it holds, so that symbols with the same values do not share one."""
    candles = random_candles(20, seed=1)
    partitions = load_manifest(_save(tmp_path, pd.concat([candles, candles.assign(symbol="ETH/USDT")]))).partitions
    assert len({one.content_digest for one in partitions.values()}) == 2
    one, other = (_inodes(_save(tmp_path, candles.assign(symbol=name))) for name in ("BTC/USDT", "ETH/USDT"))
    assert set(one.values()).isdisjoint(other.values())


def test_removing_a_dataset_leaves_those_that_share_its_files(tmp_path: Path) -> None:
    """Each dataset stands alone: a sharing one loads after the first was removed."""
    candles = _two_years()
    before, after = _save(tmp_path, candles), _save(tmp_path, candles.iloc[1:])
    for file in sorted(Path(before.uri).rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    pd.testing.assert_frame_equal(load_candles(after), candles.iloc[1:].reset_index(drop=True))


def test_lineage_reaches_the_roots(tmp_path: Path) -> None:
    """Parents are followed over several steps, with how and when; each dataset appears once."""
    clock = FixedClock(START_NS)
    raw = [_save(tmp_path, random_candles(20 + k, seed=k), made_by="collect", at_ns=clock.now_ns()) for k in range(2)]
    merged = _save(tmp_path, random_candles(30, seed=3), *raw, made_by="merge", at_ns=clock.now_ns())
    clock.advance(DAY_NS)
    clean = _save(tmp_path, random_candles(29, seed=3), merged, raw[0], made_by="validate", at_ns=clock.now_ns())
    found = lineage(tmp_path, clean)
    assert [(step.digest, step.depth) for step in found.steps] == [
        (clean.digest, 0),
        (merged.digest, 1),
        (raw[0].digest, 1),
        (raw[1].digest, 2),
    ]
    assert set(found.roots) == {ref.digest for ref in raw}
    assert str(found).splitlines()[0] == (
        f"{clean.digest[:12]}  validate at 2024-01-02T00:00:00Z from {merged.digest[:12]}, {raw[0].digest[:12]}"
    )
    manifest = load_manifest(clean)
    assert (manifest.parents, manifest.made_by) == ((merged.digest, raw[0].digest), "validate")


def test_every_way_to_the_same_content_is_kept(tmp_path: Path) -> None:
    """Equal content made in two ways is one dataset with two ways; the same way again adds nothing."""
    raw = _save(tmp_path, random_candles(30, seed=1), made_by="collect")
    first = _save(tmp_path, random_candles(20, seed=1), made_by="collect")
    again = _save(tmp_path, random_candles(20, seed=1), raw, made_by="validate")
    _save(tmp_path, random_candles(20, seed=1), raw, made_by="validate", at_ns=DAY_NS)
    assert first == again
    (step, parent) = lineage(tmp_path, first).steps
    assert [(way.made_by, way.parents) for way in step.ways] == [("collect", ()), ("validate", (raw.digest,))]
    assert parent.digest == raw.digest
    assert load_manifest(first).made_by == "collect"


def test_concurrent_ways_are_all_kept(tmp_path: Path) -> None:
    """Eight savers of the same content at once, each in its own way, leave eight ways."""
    candles = random_candles(20, seed=1)
    names = [f"way {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        (ref,) = set(pool.map(lambda name: _save(tmp_path, candles, made_by=name).digest, names))
    (step,) = lineage(tmp_path, DatasetRef(uri="", digest=ref)).steps
    assert sorted(way.made_by for way in step.ways) == names


def test_lineage_survives_circles_and_removed_parents(tmp_path: Path) -> None:
    """Two datasets that were made from each other end the walk; a parent that is gone is named as such."""
    gone = DatasetRef(uri="", digest="ab" * 32)
    a = _save(tmp_path, random_candles(20, seed=1), gone, made_by="collect")
    b = _save(tmp_path, random_candles(30, seed=1), a, made_by="merge")
    assert _save(tmp_path, random_candles(20, seed=1), b, made_by="cut") == a
    found = lineage(tmp_path, a)
    assert [step.digest for step in found.steps] == [a.digest, gone.digest, b.digest]
    assert [step.is_stored for step in found.steps] == [True, False, True]
    assert "abababababab  no longer stored" in str(found)
    with pytest.raises(NotFoundError, match="no such dataset"):
        lineage(tmp_path, gone)


def test_a_damaged_lineage_is_refused(tmp_path: Path) -> None:
    """A line that is no way is an ArtifactError that names the file."""
    ref = _save(tmp_path, random_candles(20, seed=1), made_by="collect")
    (Path(ref.uri) / "lineage.jsonl").write_text('{"made_by": 1}\n')
    with pytest.raises(ArtifactError, match=r"lineage\.jsonl"):
        lineage(tmp_path, ref)
    with pytest.raises(ArtifactError, match=r"lineage\.jsonl"):
        _save(tmp_path, random_candles(20, seed=1), made_by="merge")


def test_datasets_are_listed_with_what_cannot_be_read(tmp_path: Path) -> None:
    """Every dataset is listed; a damaged one says why; stages and locks are none."""
    refs = [_save(tmp_path, random_candles(20, seed=seed)) for seed in range(3)]
    (Path(refs[0].uri) / "manifest.json").write_text("{}")
    listed = {Path(one.folder).name: one for one in list_datasets(tmp_path)}
    assert set(listed) == {ref.digest[:16] for ref in refs}
    broken = listed[refs[0].digest[:16]]
    assert broken.manifest is None
    assert "manifest.json" in broken.problem
    manifest = listed[refs[1].digest[:16]].manifest
    assert manifest is not None
    assert manifest.digest == refs[1].digest
    assert list_datasets(tmp_path / "nothing") == []


def test_a_diff_counts_rows_and_names_columns(tmp_path: Path) -> None:
    """Rows lost, gained and revised are counted per symbol with their ranges; equal partitions are not read."""
    candles = _two_years()
    candles = candles.assign(volume=candles["volume"].where(candles.index != 20))
    a = _save(tmp_path, candles)
    close, volume = candles["close"].to_numpy().copy(), candles["volume"].to_numpy().copy()
    close[[5, 9]], volume[9] = 1.0, np.nan
    changed = without_rows(candles.assign(close=close, volume=volume), [0, 1])
    more = random_candles(3, seed=7, symbol="XRP/USDT")
    b = _save(tmp_path, pd.concat([changed, more], ignore_index=True))
    diff = diff_datasets(a, b)
    assert (diff.n_equal_partitions, diff.n_compared_partitions) == (3, 2)
    btc, xrp = diff.symbols
    assert (btc.symbol, btc.n_only_a, btc.n_only_b, btc.n_changed) == ("BTC/USDT", 2, 0, 2)
    assert btc.only_a_ns == (START_NS, START_NS + HOUR.ns)
    assert btc.changed_ns == (START_NS + 5 * HOUR.ns, START_NS + 9 * HOUR.ns)
    assert btc.changed_columns == {"close": 2, "volume": 1}
    first = btc.examples[0]
    assert (first.ts_event_ns, first.column, first.a, first.b) == (
        START_NS + 5 * HOUR.ns,
        "close",
        str(candles["close"][5]),
        "1.0",
    )
    assert len(btc.examples) == 3
    assert (xrp.n_only_b, xrp.only_b_ns) == (3, (START_NS, START_NS + 2 * HOUR.ns))
    assert "2 rows changed" in str(diff)
    assert "2024-01-01T05:00:00Z close" in str(diff)
    assert type(diff).model_validate_json(diff.model_dump_json()) == diff


def test_a_diff_skips_equal_partitions_without_reading_them(tmp_path: Path) -> None:
    """A damaged file whose content both manifests share does not stop the comparison; a differing one does."""
    candles = _two_years()
    a, b = _save(tmp_path, candles), _save(tmp_path, candles.iloc[1:])
    file = Path(a.uri) / "candles" / "ETH-USDT" / "2024.parquet"
    file.unlink()
    assert diff_datasets(a, b).symbols[0].n_only_a == 1
    (Path(a.uri) / "candles" / "BTC-USDT" / "2024.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"BTC-USDT/2024\.parquet"):
        diff_datasets(a, b)


def test_equal_datasets_have_no_diff(tmp_path: Path) -> None:
    """NaN equals NaN, and a dataset equals itself; another source is a difference without rows."""
    candles = random_candles(20, seed=1)
    candles = candles.assign(volume=candles["volume"].where(candles.index != 3))
    a = _save(tmp_path, candles)
    assert diff_datasets(a, a).is_empty
    b = save_dataset(tmp_path, candles, source="other", timeframe=HOUR)
    diff = diff_datasets(a, b)
    assert (diff.source, diff.symbols, diff.is_empty) == (("test", "other"), (), False)


def test_trades_of_one_moment_are_told_apart(tmp_path: Path) -> None:
    """Trades are matched by time and id; without ids, the first with the first."""
    trades = pd.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts_event_ns": START_NS + np.zeros(3, dtype=np.int64),
            "price": [1.0, 2.0, 3.0],
            "trade_id": ["a", "b", "c"],
        }
    )
    others = trades.iloc[[0, 2]].assign(price=[1.0, 4.0])
    candles = random_candles(5, seed=1)
    for drop, expected in ((["symbol_x"], (1, 1)), (["trade_id"], (1, 1))):
        sides = [frame.drop(columns=drop, errors="ignore") for frame in (trades, others)]
        refs = [save_dataset(tmp_path, candles, source="t", timeframe=HOUR, trades=side) for side in sides]
        (found,) = diff_datasets(*refs).symbols
        assert (found.table, found.n_only_a, found.n_changed) == ("trades", *expected)
        assert found.examples[0].b == "4.0"
