"""Rebuild the books of raw recordings, compare them with the venue's best quotes, and write what was found.

    python -m benchmarks.book_replay --recordings FOLDER --out FILE.json

Each file is replayed twice: from its own REST snapshot, and from deltas alone (trusted after 300 of them).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ratchet.data.books import RecordingLimits, replay
from ratchet.exchanges.feeds import feed_parser

RECORDINGS = [
    ("spot", "spot/btcusdt_20240808.gz", "binance", "BTC/USDT", "BTCUSDT"),
    ("usdm", "usdm/btcusdt_20240808.gz", "binance-swap", "BTC/USDT:USDT", "BTCUSDT"),
    ("coinm", "cm/btcusd_perp_20240808.gz", "binance-swap", "BTC/USD:BTC", "BTCUSD_PERP"),
]
WARM_UP = 300


def measure(path: Path, venue: str, symbol: str, name: str, trust_after: int | None) -> dict[str, object]:
    """Replay one file and return its report with the share of quotes that agree and the pace."""
    parse = feed_parser(venue, {name: symbol})
    limits = RecordingLimits(trust_after=trust_after)
    with tempfile.TemporaryDirectory() as folder:
        started_s = time.perf_counter()
        report = asyncio.run(replay(path, Path(folder), venue=venue, symbol=symbol, parse=parse, limits=limits))
        took_s = time.perf_counter() - started_s
        n_bytes = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
    share = report.n_quotes_agreed / report.n_quotes_matched if report.n_quotes_matched else None
    return {
        **asdict(report),
        "share_of_quotes_agreed": share,
        "seconds": round(took_s, 2),
        "messages_per_s": round(report.n_messages / took_s),
        "parquet_bytes": n_bytes,
    }


def main() -> None:
    """Measure all recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    results = {}
    for label, file, venue, symbol, name in RECORDINGS:
        for mode, trust_after in (("snapshot", None), ("deltas alone", WARM_UP)):
            result = measure(arguments.recordings / file, venue, symbol, name, trust_after)
            results[f"{label}, {mode}"] = result
            print(
                f"{label:6} {mode:13} matched {result['n_quotes_matched']:>6} of {result['n_quotes']:>6}, "
                f"agreed {result['share_of_quotes_agreed']:.6f}, crossed {result['n_crossed']}, "
                f"gaps {result['n_gaps']}, {result['messages_per_s']} messages/s"
            )
    arguments.out.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
