"""Logs to a spool until it is killed: `python tracking_child.py FOLDER`; says what is surely on the disk."""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path

from ratchet.clock import SystemClock
from ratchet.tracking import MlflowTracker, SpooledTracker


def main() -> None:
    folder = Path(sys.argv[1])
    inner = MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", SystemClock())
    tracker = SpooledTracker(inner, folder / "spool", SystemClock())
    parent = tracker.start_run("btc", "walk-forward")
    child = tracker.start_run("btc", "fold 0", parent_run_id=parent)
    for step in count():
        tracker.log_metrics(child, {"loss": 1 / (1 + step)}, step=step)
        if step % 100 == 99:
            tracker.log_params(child, {f"p{step}": step})  # returns when it and everything before are on the disk
            print(parent, child, step + 1, flush=True)  # noqa: T201 - read by the test
        time.sleep(0.0005)


if __name__ == "__main__":
    main()
