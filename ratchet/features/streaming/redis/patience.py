"""How long a process puts up with a Redis that does not answer."""

from __future__ import annotations

import time

from ratchet.errors import TransientError, UnavailableError

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class Patience:
    """Waits longer after each failure in a row, and gives up `patience_s` after the first of them."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def worked(self) -> None:
        """Forget the failures."""
        self._since_s, self._pause_s = None, _FIRST_PAUSE_S

    def failed(self, error: TransientError) -> None:
        """Wait a little.

        Raises:
            UnavailableError: it has failed for too long.
        """
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s >= self._patience_s:
            raise UnavailableError(f"{error}; gave up after {self._patience_s:g} s") from error
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
