"""Pointers: names of one's own on versions, such as `challenger`, that no rule of the stages touches."""

from __future__ import annotations

import re

from sqlalchemy import Connection, delete, insert, select

from ratchet.errors import InputError
from ratchet.registry.tables import pointers

_POINTER = re.compile(r"challenger|experiment-[a-z0-9][a-z0-9._-]{0,63}")


def is_pointer(text: str) -> bool:
    """Tell whether a text can name a pointer."""
    return _POINTER.fullmatch(text) is not None


def check_pointer(pointer: str) -> str:
    """Return the name of a pointer if it is well formed.

    >>> check_pointer("experiment-7")
    'experiment-7'

    Raises:
        InputError: it is not.
    """
    if not is_pointer(pointer):
        raise InputError(
            f"pointer {pointer!r}: expected challenger or experiment-..., of lower-case letters, digits, '.', '_', '-'"
        )
    return pointer


class PointerRows:
    """The pointers of one model, on an open connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def all(self) -> dict[str, str]:
        """Return the version by pointer."""
        query = select(pointers.c.pointer, pointers.c.version).where(pointers.c.name == self._name)
        return {row.pointer: row.version for row in self._connection.execute(query.order_by(pointers.c.pointer))}

    def find(self, pointer: str) -> str | None:
        """Return the version that a pointer is on."""
        query = select(pointers.c.version).where(pointers.c.name == self._name, pointers.c.pointer == pointer)
        return self._connection.scalar(query)

    def put(self, pointer: str, version: str) -> None:
        """Put a pointer on a version and on no other."""
        self.drop(pointer)
        row = {"name": self._name, "pointer": pointer, "version": version}
        self._connection.execute(insert(pointers).values(row))

    def drop(self, pointer: str) -> None:
        """Remove a pointer."""
        self._connection.execute(delete(pointers).where(pointers.c.name == self._name, pointers.c.pointer == pointer))
