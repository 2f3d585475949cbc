"""Numbers that count the messages of one connection, for venues that number those and not their books."""

from __future__ import annotations

from collections import OrderedDict

_KEPT = 64


class ConnectionSequence:
    """Notices a message that is missing from a connection.

    >>> sequence = ConnectionSequence()
    >>> [sequence.n_missing(1, number) for number in (0, 1, 1, 4)]
    [0, 0, 0, 2]
    """

    def __init__(self) -> None:
        self._last: OrderedDict[int, int] = OrderedDict()

    def n_missing(self, connection: int, number: int) -> int:
        """Take a message's number; return how many are missing before it. One seen before counts as none missing."""
        last = self._last.get(connection)
        self._last[connection] = number if last is None else max(last, number)
        self._last.move_to_end(connection)
        while len(self._last) > _KEPT:
            self._last.popitem(last=False)
        return 0 if last is None else max(0, number - last - 1)
