"""Starts the inspecting process, hands it the files, and ends it in time, whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from pydantic import ValidationError

import ratchet
from ratchet.errors import CandidateRejectedError, UnavailableError
from ratchet.registry.inspection.order import Order, Verdict

_MODULE = "ratchet.registry.inspection.child"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def inspect_in_child(order: Order, files: Mapping[str, bytes]) -> Verdict:
    """Return the verdict of a fresh process with an empty folder, a bare environment and its own session.

    Raises:
        CandidateRejectedError: it gave none, in time or at all.
        UnavailableError: it cannot be started.
    """
    try:
        # Files instead of pipes: nothing can block, and the child's limit of output holds for both.
        with (
            tempfile.TemporaryDirectory(prefix="ratchet-inspection-", ignore_cleanup_errors=True) as folder,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as answer,
            tempfile.TemporaryFile() as complaint,
        ):
            for filename in order.sizes:
                given.write(files[filename])
            given.seek(0)
            status = _run(order, Path(folder), given, answer, complaint)
            return _read(status, answer, complaint, order)
    except OSError as error:
        raise UnavailableError(f"the inspecting process cannot be started: {error}; try again") from error


def _run(order: Order, folder: Path, given: IO[bytes], answer: IO[bytes], complaint: IO[bytes]) -> int:
    """Return the exit status, as subprocess gives it."""
    process = subprocess.Popen(  # noqa: S603 - our own module, and the order is ours
        [sys.executable, "-P", "-s", "-B", "-m", _MODULE, order.model_dump_json()],
        stdin=given,
        stdout=answer,
        stderr=complaint,
        cwd=folder,
        env={"PYTHONPATH": str(Path(ratchet.__file__).parents[1])} | dict.fromkeys(_ONE_THREAD, "1"),
        start_new_session=True,
    )
    try:
        return process.wait(order.limits.wall_s)
    except subprocess.TimeoutExpired as error:
        raise CandidateRejectedError(
            f"not inspected within {order.limits.wall_s:g} s; simplify the model, or try again on a less busy machine"
        ) from error
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole session, in which nothing has a right to outlive its leader."""
    # A process that was waited for may have given its number away, except while its group still has members.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(status: int, answer: IO[bytes], complaint: IO[bytes], order: Order) -> Verdict:
    answer.seek(0)
    if status == 0:
        try:
            return Verdict.model_validate_json(answer.read(order.limits.output_bytes))
        except ValidationError as error:
            raise CandidateRejectedError("the inspection ended without a verdict") from error
    raise CandidateRejectedError(f"the inspection {_ending(status, complaint, order)}; export the model again")


def _ending(status: int, complaint: IO[bytes], order: Order) -> str:
    if status < 0:
        limit = f" after {order.limits.cpu_s} s of computing" if -status == signal.SIGXCPU else ""
        return f"was ended by {signal.Signals(-status).name}{limit}"
    complaint.seek(0)
    lines = complaint.read(order.limits.output_bytes).decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return f"failed with status {status}: {last[:200]}"
