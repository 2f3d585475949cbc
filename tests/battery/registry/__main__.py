"""Run the registry's battery: `python -m tests.battery.registry all --full --seed 1 --out FILE.json`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.battery.registry import killing, power, racing, simulation

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in memory, in which a private one is made
_QUICK_STEPS = 600
_FULL_STEPS = 100_000
Figures = Iterator[dict[str, Any]]
"""The figures of one test: once it is done, or again and again as it goes."""


def _t_reg_1(options: argparse.Namespace) -> Figures:
    with TemporaryDirectory(dir=_memory()) as folder:
        chosen: Any = {"every": 1} if options.full else {"every": 7, "operations": ["promote", "register"]}
        yield killing.run(Path(folder), **chosen)


def _t_reg_2(options: argparse.Namespace) -> Figures:
    # The images may lie in memory too: what a cut takes is what never reached them.
    with TemporaryDirectory(dir=_memory(), ignore_cleanup_errors=True) as folder:
        yield power.run(Path(folder), n_cuts=30 if options.full else 2, n_mutant_cuts=12 if options.full else 2)


def _t_reg_3(options: argparse.Namespace) -> Figures:
    n_steps = options.steps or (_FULL_STEPS if options.full else _QUICK_STEPS)
    seeds = [options.seed + index for index in range(options.lives or (3 if options.full else 1))]
    with TemporaryDirectory(dir=_memory()) as folder:
        yield from simulation.run(Path(folder), seeds=seeds, n_steps=n_steps)


def _t_reg_4(options: argparse.Namespace) -> Figures:
    with TemporaryDirectory(dir=_memory()) as folder:
        n_calls = 250 if options.full else 8
        yield racing.run(Path(folder), seed=options.seed, n_processes=8, n_calls=n_calls)


TESTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "t-reg-1": _t_reg_1,
    "t-reg-2": _t_reg_2,
    "t-reg-3": _t_reg_3,
    "t-reg-4": _t_reg_4,
}


def _memory() -> Path | None:
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 where a test failed, 2 where none did but one could not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.battery.registry", description=__doc__)
    parser.add_argument("tests", nargs="*", default=["all"], choices=[*TESTS, "all"], metavar="TEST")
    parser.add_argument("--full", action="store_true", help="every point, every cut, three lives; else a few seconds")
    parser.add_argument("--seed", type=int, default=1, help="what chance is drawn from")
    parser.add_argument("--steps", type=int, help="of one life in t-reg-3, instead of 100000 or 600")
    parser.add_argument("--lives", type=int, help="in t-reg-3, one for each seed from --seed on, instead of 3 or 1")
    parser.add_argument("--out", type=Path, help="JSON file for the figures; those of other tests in it stay")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # one warning for each link that a crash left behind
    statuses = {_run(name, options) for name in (TESTS if "all" in options.tests else options.tests)}
    return 1 if "failed" in statuses else 2 if "not run" in statuses else 0


def _run(name: str, options: argparse.Namespace) -> str:
    """Run one test, write its figures as they come, and return how it ended."""
    started_s = time.perf_counter()
    status = "not run"
    for figures in TESTS[name](options):
        told = {"seed": options.seed, "is_full": options.full, **figures}
        told["wall_seconds"] = round(time.perf_counter() - started_s, 1)
        sys.stderr.write(f"{name}: {_line(told)}\n")
        status = told["status"]
        if options.out:
            before = json.loads(options.out.read_text()) if options.out.exists() else {}
            options.out.write_text(json.dumps({**before, name: told}, indent=1, sort_keys=True) + "\n")
    return status


def _line(result: dict[str, Any]) -> str:
    if result["status"] == "not run":
        return f"NOT RUN: {result['reason']}"
    counts = ", ".join(f"{key} {value}" for key, value in result.items() if type(value) in {int, float})
    return f"{result['status']}; {counts}"


if __name__ == "__main__":
    raise SystemExit(main())
