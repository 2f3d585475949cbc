"""Try a candidate in a process of its own that has what the model server has: does it load, answer, and how fast?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ratchet.errors import UnavailableError
from ratchet.evaluation.criteria import InfraReport
from ratchet.evaluation.latency import LatencyReport

N_CALLS = 2_000
_WITHIN_S = 120.0


def try_in_server(folder: Path) -> tuple[LatencyReport | None, InfraReport]:
    """Load a candidate as the server does, compare its golden answers, and measure single predictions there.

    A candidate that hangs or takes the process down is one that does not answer; its latency is then None.

    Raises:
        UnavailableError: the check itself could not be run.
    """
    command = [sys.executable, "-m", "serving.infra_check", str(folder), "--calls", str(N_CALLS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return None, InfraReport(is_loaded=False, golden_gap=None, error=f"no answer within {_WITHIN_S:g} s")
    except OSError as error:
        raise UnavailableError(f"the candidate could not be tried: {error}") from error
    if done.returncode < 0:
        return None, InfraReport(is_loaded=False, golden_gap=None, error=f"it died by signal {-done.returncode}")
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing was printed"]
        raise UnavailableError(f"the candidate could not be tried: {last[0]}") from error
    infra = InfraReport(is_loaded=found["loaded"], golden_gap=found["golden_gap"], error=found["error"])
    if infra.error is not None or not infra.is_loaded:
        return None, infra
    return LatencyReport(**{name: found[name] for name in LatencyReport.model_fields}), infra
