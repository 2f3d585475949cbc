"""Group commit: many small changes of the spool in few transactions, and none of them an error of the caller."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from ratchet.errors import RatchetError
from ratchet.tracking.spool import ADD_RECORD, Spool, Statement

_LINGER_S = 0.01
_MAX_KEPT = 100_000

_LOG = logging.getLogger(__name__)


class Journal:
    """Writes changes to a spool, in the order in which they were added.

    What a disk refuses stays in memory and is tried again with the next change, up to 100,000 changes; what comes then
    is dropped and counted.

    Args:
        spool: where changes go.
        on_commit: called after each transaction.
    """

    def __init__(self, spool: Spool, on_commit: Callable[[], None]) -> None:
        self._spool, self._on_commit = spool, on_commit
        self._adding, self._writing = threading.Lock(), threading.Lock()
        self._changes: list[Statement] = []
        self._in_flight: list[Statement] = []
        self._is_due = False
        self._has_warned = False
        self._n_dropped = 0

    def add(self, changes: Sequence[Statement]) -> None:
        """Take changes, which are written together with those of the next ten milliseconds."""
        with self._adding:
            room = max(_MAX_KEPT - len(self._changes), 0)
            self._changes.extend(changes[:room])
            self._n_dropped += _n_records(changes[room:])
            if not self._is_due:
                self._is_due = True
                timer = threading.Timer(_LINGER_S, self.commit)
                timer.daemon = True
                timer.start()

    def commit(self) -> bool:
        """Write now what was taken, and tell whether it is on the disk."""
        with self._writing:
            with self._adding:
                changes = self._in_flight = self._changes
                self._changes, self._is_due = [], False
            if not changes:
                return True
            try:
                self._spool.apply(changes)
            except RatchetError as error:
                with self._adding:
                    self._changes, self._in_flight = changes + self._changes, []
                self.warn(error)
                return False
            with self._adding:
                self._in_flight = []
        self._on_commit()
        return True

    def drop(self, error: RatchetError) -> None:
        """Count one record that could not even be taken."""
        with self._adding:
            self._n_dropped += 1
        self.warn(error)

    def warn(self, error: RatchetError) -> None:
        """Say once that the spool cannot be used."""
        if not self._has_warned:
            self._has_warned = True
            _LOG.warning("the tracking spool cannot be used, and training goes on without it: %s", error)

    def n_unwritten(self) -> int:
        """Return how many records are in memory only."""
        with self._adding:
            return _n_records(self._changes) + _n_records(self._in_flight)

    def n_dropped(self) -> int:
        """Return how many records are lost for good."""
        with self._adding:
            return self._n_dropped


def _n_records(changes: Sequence[Statement]) -> int:
    return sum(statement == ADD_RECORD for statement, _ in changes)
