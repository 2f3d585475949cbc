"""One retraining at a time in one home folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ratchet.data.lock import hold
from ratchet.errors import BusyError
from ratchet.settings import load_settings


@contextmanager
def retraining_lease() -> Iterator[None]:
    """Hold the right to retrain; the operating system gives it back when the holder dies.

    Raises:
        BusyError: another retraining runs in this home folder.
    """
    root = load_settings().root
    with hold(root / "run" / "retrain.lock") as is_ours:
        if not is_ours:
            raise BusyError(f"another retraining is running in {root}; wait until it has finished, then try again")
        yield
