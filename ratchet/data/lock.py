"""A lock that the operating system releases when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(path: Path, *, patience_s: float = 0.0) -> Iterator[bool]:
    """Try for `patience_s` to lock `path`; yield whether it worked and unlock at the end.

    A forked child keeps the lock after its parent has gone; programs that are executed do not inherit it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield _locked(descriptor, patience_s)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
