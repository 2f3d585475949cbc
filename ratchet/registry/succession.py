"""The versions before the one in production, as rows: a rollback reads the last instead of the whole history."""

from __future__ import annotations

from sqlalchemy import Connection, Text, bindparam, delete, func, insert, select

from ratchet.registry.tables import succession

_NAME, _VERSION = bindparam("of_name", type_=Text), bindparam("of_version", type_=Text)
_OF_MODEL = succession.c.name == _NAME
_FROM_TOP = succession.c.position.desc()

_ALL = select(succession.c.version).where(_OF_MODEL).order_by(succession.c.position)
_TOP = select(succession.c.version).where(_OF_MODEL).order_by(_FROM_TOP).limit(1)
_TOP_BUT = _TOP.where(succession.c.version != _VERSION)
_HEIGHT = select(func.max(succession.c.position)).where(_OF_MODEL)
_LAST = select(succession.c.position).where(_OF_MODEL).order_by(_FROM_TOP).limit(1)
_LAST_OF, _LAST_BUT = _LAST.where(succession.c.version == _VERSION), _LAST.where(succession.c.version != _VERSION)
_PUSH = insert(succession)
_CUT = delete(succession).where(_OF_MODEL, succession.c.position >= bindparam("from_position"))
_FORGET = delete(succession).where(_OF_MODEL, succession.c.version == _VERSION)


class SuccessionRows:
    """What `timeline.succession` calls `earlier`, of one model, on an open connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def all(self) -> tuple[str, ...]:
        """Return all rows, oldest first."""
        return tuple(self._connection.scalars(_ALL, {"of_name": self._name}))

    def previous(self, current: str | None) -> str | None:
        """Return the last version that is not `current`, the one in production: what a rollback puts back."""
        if current is None:
            return self._connection.scalar(_TOP, {"of_name": self._name})
        return self._connection.scalar(_TOP_BUT, {"of_name": self._name, "of_version": current})

    def push(self, version: str) -> None:
        """Append the version that another one displaced."""
        top = self._connection.scalar(_HEIGHT, {"of_name": self._name}) or 0
        self._connection.execute(_PUSH, {"name": self._name, "position": top + 1, "version": version})

    def pop_to(self, version: str) -> None:
        """Remove the last row of a version, which is back in production, and all after it."""
        self._cut(self._connection.scalar(_LAST_OF, {"of_name": self._name, "of_version": version}) or 0)

    def drop_top(self, version: str) -> None:
        """Remove a withdrawn version from the end."""
        last_other = self._connection.scalar(_LAST_BUT, {"of_name": self._name, "of_version": version}) or 0
        self._cut(last_other + 1)

    def forget(self, version: str) -> None:
        """Remove a version that can never return."""
        self._connection.execute(_FORGET, {"of_name": self._name, "of_version": version})

    def _cut(self, position: int) -> None:
        self._connection.execute(_CUT, {"of_name": self._name, "from_position": position})
