"""What the events say: what was in production when, what each stage holds, and what a rollback returns to.

These functions define the answers; the tables keep the ones that changes need, so that nobody replays the history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ratchet.errors import RegistryConflictError
from ratchet.registry.base import EventKind, RegistryEvent, Stage


@dataclass(frozen=True, slots=True)
class Succession:
    """The version in production and those before it that can return, oldest first."""

    current: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def previous(self) -> str | None:
        """The version that a rollback puts back: the last one that is not in production now."""
        return next((version for version in reversed(self.earlier) if version != self.current), None)

    def after(self, event: RegistryEvent) -> Succession:
        """Return the succession once `event` has happened."""
        match event.kind:
            case "promote":
                earlier = self.earlier if self.current is None else (*self.earlier, self.current)
                return Succession(event.version, earlier)
            case "rollback":
                return Succession(event.version, _before_last(self.earlier, event.version))
            case "withdraw" if event.version == self.current:
                return Succession(None, _without_top(self.earlier, event.version))
            case "retire" | "prune":
                return Succession(self.current, tuple(kept for kept in self.earlier if kept != event.version))
            case _:
                return self


def succession(events: Iterable[RegistryEvent]) -> Succession:
    """Replay the events of one model, in order of epoch."""
    state = Succession()
    for event in events:
        state = state.after(event)
    return state


def rollback_target(events: Iterable[RegistryEvent]) -> str | None:
    """Return the version that a rollback puts back: the last one before the present that is not retired or pruned.

    Args:
        events: the events of one model, in order of epoch.
    """
    return succession(events).previous


def production_at(events: Iterable[RegistryEvent], ts_ns: int) -> str | None:
    """Return the version that was in production at a time, None if there was none.

    Args:
        events: the events of one model, in order of epoch.
        ts_ns: nanoseconds UTC, by the clock that stamped the events; an event counts from its own time on.
    """
    return succession(event for event in events if event.ts_ns <= ts_ns).current


_STAGE_AFTER: dict[EventKind, Stage] = {
    "register": "none",
    "stage": "staging",
    "promote": "production",
    "rollback": "production",
    "withdraw": "archived",
    "retire": "archived",
}


def stages(events: Iterable[RegistryEvent]) -> dict[tuple[str, str], Stage]:
    """Return the stage of every version, by (name, version), that the events of all models lead to."""
    found: dict[tuple[str, str], Stage] = {}
    for event in events:
        if event.kind not in _STAGE_AFTER:
            continue
        if event.previous is not None:
            found[event.name, event.previous] = "archived"
        found[event.name, event.version] = _STAGE_AFTER[event.kind]
    return found


def refuse_if_moved(last_move: RegistryEvent | None, expected_epoch: int | None, now_epoch: int) -> None:
    """Compare and set: refuse a change that was decided on an older state.

    Args:
        last_move: the last event that changed a stage of the model.
        expected_epoch: the epoch at which the caller looked; None skips the check.
        now_epoch: the epoch now.

    Raises:
        RegistryConflictError: a version changed its stage after `expected_epoch`, or that epoch is still to come.
    """
    if expected_epoch is None:
        return
    if expected_epoch > now_epoch:
        raise RegistryConflictError(f"expected epoch {expected_epoch}, but the registry is at {now_epoch}")
    if last_move is not None and last_move.epoch > expected_epoch:
        raise RegistryConflictError(
            f"{last_move.name} moved on since epoch {expected_epoch}: {last_move.kind} {last_move.version} "
            f"by {last_move.actor} at epoch {last_move.epoch}; read it again and decide anew"
        )


def _before_last(versions: tuple[str, ...], version: str) -> tuple[str, ...]:
    for index in range(len(versions) - 1, -1, -1):
        if versions[index] == version:
            return versions[:index]
    return versions


def _without_top(versions: tuple[str, ...], version: str) -> tuple[str, ...]:
    while versions and versions[-1] == version:
        versions = versions[:-1]
    return versions
