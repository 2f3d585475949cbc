"""A forked child under `strace`: count what it asks the kernel to change, and kill it at any of these calls."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CALLS = (
    *("open", "openat", "openat2", "creat", "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile"),
    *("copy_file_range", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "truncate", "ftruncate", "fallocate"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat", "setxattr", "fsetxattr"),
)
_LINE = re.compile(r"^\d+\s+(\w+)\((.*)$")
_PATIENCE_S = 60.0

Act = Callable[[Callable[[str], None]], None]
"""What the child does; it calls the function that it is given with what it acknowledges."""


@dataclass(frozen=True)
class Point:
    """One call that changes the disk: the `occurrence`-th of its name."""

    call: str
    occurrence: int
    label: str


@dataclass(frozen=True)
class Ending:
    """How a child ended: its exit status, minus the signal that killed it, and what it had acknowledged."""

    status: int
    acknowledged: str

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.status == -signal.SIGKILL


def reason_not_to_run(folder: Path) -> str | None:
    """Tell why children cannot be traced here; None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    try:
        ending, points = traced(lambda: lambda acknowledge: acknowledge("here"), folder / "probe")
    except RuntimeError as error:
        return str(error)
    return None if points and ending.acknowledged == "here" else "strace sees no system calls"


def traced(prepare: Callable[[], Act], log: Path, *, kill_at: Point | None = None) -> tuple[Ending, list[Point]]:
    """Run an act in a forked child under strace, from its first call on.

    Args:
        prepare: runs in the child before strace looks; returns the act.
        log: where strace writes.
        kill_at: the child dies by SIGKILL instead of making this call.

    Returns:
        How the child ended, and the calls that change the disk.

    Raises:
        RuntimeError: strace cannot attach.
    """
    going, go = os.pipe()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.close(reading)
        _be_the_child(prepare, going, writing)
    os.close(going)
    os.close(writing)
    if os.read(reading, 1) != b"!":
        raise RuntimeError(f"the child did not get ready: {os.waitpid(child, 0)[1]}")
    tracer = _attach(child, log, kill_at)
    os.write(go, b"!")
    os.close(go)
    with os.fdopen(reading) as acknowledgements:
        acknowledged = acknowledgements.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tracer.wait(_PATIENCE_S)
    assert tracer.stderr is not None
    tracer.stderr.close()
    return Ending(status, acknowledged), _points(log)


def _be_the_child(prepare: Callable[[], Act], going: int, writing: int) -> None:
    status = 1
    try:
        act = prepare()
        os.write(writing, b"!")
        os.read(going, 1)
        act(lambda text: _write_out(writing, text))
        status = 0
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def _write_out(writing: int, text: str) -> None:
    os.write(writing, text.encode())


def _attach(child: int, log: Path, kill_at: Point | None) -> subprocess.Popen[bytes]:
    command = ["strace", "-f", "-p", str(child), "-o", str(log), "-e", "trace=" + ",".join(f"?{c}" for c in _CALLS)]
    if kill_at is not None:
        command += ["-e", f"inject={kill_at.call}:signal=SIGKILL:when={kill_at.occurrence}"]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    said = b""
    deadline = time.monotonic() + _PATIENCE_S
    # strace says so once the child is caught: what it does from here on is seen.
    while b"attached" not in said:
        ready, _, _ = select.select([tracer.stderr], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(tracer.stderr.fileno(), 4_096) if ready else b""
        if not chunk:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            tracer.kill()
            tracer.wait()
            raise RuntimeError(f"strace cannot attach: {said.decode(errors='replace').strip() or 'it says nothing'}")
        said += chunk
    return tracer


def _points(log: Path) -> list[Point]:
    counts: Counter[str] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        call, arguments = match.groups()
        counts[call] += 1
        if call.startswith("open") and not re.search(r"\bO_(CREAT|TRUNC)\b", arguments):
            continue
        found.append(Point(call, counts[call], f"{call}({arguments[:160]}"))
    return found
