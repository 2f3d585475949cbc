"""Run the fault battery: `python -m tests.battery.faults --days 1000 --jobs 1 --out FILE.json`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ratchet.errors import RatchetError
from tests.battery.days import LABELS, Day
from tests.battery.driving import collect_day
from tests.battery.verdicts import judge

_MOST_PROBLEMS = 20


@dataclass
class Tally:
    """The days of one kind of fault, added up."""

    label: str
    n_days: int = 0
    n_days_with_fault: int = 0
    n_requests: int = 0
    n_faults: int = 0
    n_rows_checked: int = 0
    n_rows_lost: int = 0
    n_rows_fabricated: int = 0
    n_rows_wrong: int = 0
    n_rows_quarantined: int = 0
    n_gaps: int = 0
    n_bars_missing: int = 0
    n_days_failed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def run_days(label: str, numbers: Sequence[int]) -> Tally:
    """Collect and judge days of one kind."""
    return asyncio.run(_run_days(label, numbers))


async def _run_days(label: str, numbers: Sequence[int]) -> Tally:
    tally = Tally(label)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for number in numbers:
        await _add_day(tally, Day.draw(label, number))
    tally.seconds = round(time.perf_counter() - started_s, 3)
    tally.cpu_seconds = round(time.process_time() - cpu_s, 3)
    return tally


async def _add_day(tally: Tally, day: Day) -> None:
    tally.n_days += 1
    try:
        collected = await collect_day(day)
    except RatchetError as error:
        tally.n_days_failed += 1
        tally.problems.append(f"{day}: {error!r}")
        return
    verdict = judge(day, collected)
    n_faults = sum(collected.counts.values())
    tally.n_days_with_fault += n_faults > 0
    tally.n_requests += collected.n_requests
    tally.n_faults += n_faults
    tally.n_rows_checked += verdict.n_rows
    tally.n_rows_lost += verdict.n_lost
    tally.n_rows_fabricated += verdict.n_fabricated
    tally.n_rows_wrong += verdict.n_wrong
    tally.n_rows_quarantined += verdict.n_quarantined
    tally.n_gaps += verdict.n_gaps
    tally.n_bars_missing += verdict.n_missing
    tally.n_days_failed += bool(verdict.problems)
    tally.problems += [f"{day}: {problem}" for problem in verdict.problems]


def added(label: str, parts: Sequence[Tally]) -> Tally:
    """Return the sum of tallies of one kind."""
    total = Tally(label)
    for part in parts:
        for name, value in vars(part).items():
            if name != "label":
                setattr(total, name, getattr(total, name) + value)
    return total


def run_battery(labels: Sequence[str], *, n_days: int, n_jobs: int) -> list[Tally]:
    """Run so many days of each kind, in so many processes; progress goes to stderr."""
    chunks = [range(first, n_days, n_jobs) for first in range(min(n_jobs, n_days))]
    tallies = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=context, initializer=_prepare_process) as pool:
        for label in labels:
            tally = added(label, list(pool.map(run_days, [label] * len(chunks), chunks)))
            tallies.append(tally)
            _say(_line(tally), *(f"    {problem}" for problem in tally.problems[:_MOST_PROBLEMS]))
    return tallies


def _prepare_process() -> None:
    logging.disable(logging.WARNING)  # one warning per day whose clocks differ


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def _line(tally: Tally) -> str:
    return (
        f"{tally.label:24} {tally.n_days:5} days {tally.n_faults:7} faults {tally.n_rows_checked:8} rows "
        f"{tally.n_rows_lost} lost {tally.n_rows_fabricated} fabricated {tally.n_rows_wrong} wrong "
        f"{tally.n_gaps} gaps {tally.n_days_failed} days failed, "
        f"{1e3 * tally.cpu_seconds / max(1, tally.n_days):.0f} ms/day of CPU"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 where a day failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.battery.faults", description=__doc__)
    parser.add_argument("--days", type=int, default=20, help="days per kind of fault")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--kinds", nargs="*", default=list(LABELS), choices=LABELS, metavar="KIND")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    tallies = run_battery(options.kinds, n_days=options.days, n_jobs=options.jobs)
    total = added("total", tallies)
    _say(_line(total))
    if options.out:
        total.problems = []
        kinds = [{**asdict(tally), "problems": tally.problems[:_MOST_PROBLEMS]} for tally in tallies]
        options.out.write_text(json.dumps({"total": asdict(total), "kinds": kinds}, indent=1) + "\n")
    return 1 if total.n_days_failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
