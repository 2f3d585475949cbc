"""The Prefect worker as `ratchet up` runs it: it first closes the runs that its predecessor could not finish.

A worker that is stopped or killed takes its flow runs with it, and Prefect goes on showing them as running; their
deployment's only concurrency slot stays taken, so that every later retraining would be refused.
"""

from __future__ import annotations

import argparse
import os
import sys

from ratchet.cli.web import call_json
from ratchet.errors import RatchetError

_UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")
_PAGE = 200
_MESSAGE = "The worker was stopped during this run. Run it again: nothing was promoted by halves."


def close_interrupted_runs(api_url: str, *, pool: str, worker: str) -> int:
    """Mark the unfinished runs that `worker` started as crashed, and return how many there were.

    Call it only while no worker of this name runs: every such run has then lost its process. A run without a label was
    taken an instant before its worker died.

    Raises:
        UnavailableError: the Prefect server does not answer.
    """
    runs = call_json(
        f"{api_url}/flow_runs/filter",
        {
            "limit": _PAGE,
            "flow_runs": {"state": {"type": {"any_": list(_UNFINISHED)}}},
            "work_pools": {"name": {"any_": [pool]}},
        },
    )
    mine = [run["id"] for run in runs if run.get("labels", {}).get("prefect.worker.name", worker) == worker]
    for run_id in mine:
        state = {"type": "CRASHED", "name": "Crashed", "message": _MESSAGE}
        call_json(f"{api_url}/flow_runs/{run_id}/set_state", {"state": state, "force": False})
    return len(mine)


def main() -> None:
    """Close interrupted runs, then become the Prefect worker; the work pool is made where it is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--api-url", "--pool", "--name"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    n_closed = close_interrupted_runs(options.api_url, pool=options.pool, worker=options.name)
    sys.stdout.write(f"closed {n_closed} interrupted runs\n")
    sys.stdout.flush()
    command = ["-m", "prefect", "worker", "start", "--pool", options.pool, "--type", "process", "--name", options.name]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - the worker takes this process's place


if __name__ == "__main__":
    try:
        main()
    except RatchetError as error:
        sys.exit(f"error: {error}")
