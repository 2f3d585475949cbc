"""What the events say: what was in production when, and what a rollback returns to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ratchet.errors import RegistryConflictError
from ratchet.registry.base import RegistryEvent


@dataclass(frozen=True, slots=True)
class Succession:
    """The version in production and those before it, oldest first."""

    current: str | None = None
    earlier: tuple[str, ...] = ()

    def after(self, event: RegistryEvent) -> Succession:
        """Return the succession once `event` has happened."""
        if event.kind == "promote":
            earlier = self.earlier if self.current is None else (*self.earlier, self.current)
            return Succession(event.version, earlier)
        if event.kind == "rollback":
            return Succession(event.version, _before_last(self.earlier, event.version))
        if event.kind == "withdraw" and event.version == self.current:
            return Succession(None, self.earlier)
        return self


def succession(events: Iterable[RegistryEvent]) -> Succession:
    """Replay the events of one model."""
    state = Succession()
    for event in events:
        state = state.after(event)
    return state


def rollback_target(events: Sequence[RegistryEvent]) -> str | None:
    """Return the version that a rollback puts back: the last one before the present that is not retired.

    Args:
        events: the events of one model, in order of epoch.
    """
    retired = {event.version for event in events if event.kind == "retire"}
    return next((version for version in reversed(succession(events).earlier) if version not in retired), None)


def production_at(events: Iterable[RegistryEvent], ts_ns: int) -> str | None:
    """Return the version that was in production at a time, None if there was none.

    Args:
        events: the events of one model, in order of epoch.
        ts_ns: nanoseconds UTC, by the clock that stamped the events; an event counts from its own time on.
    """
    return succession(event for event in events if event.ts_ns <= ts_ns).current


def refuse_if_moved(events: Iterable[RegistryEvent], expected_epoch: int | None, now_epoch: int) -> None:
    """Compare and set: refuse a change that was decided on an older state.

    Args:
        events: the events of one model.
        expected_epoch: the epoch at which the caller looked; None skips the check.
        now_epoch: the epoch now.

    Raises:
        RegistryConflictError: a version changed its stage after `expected_epoch`, or that epoch is still to come.
    """
    if expected_epoch is None:
        return
    if expected_epoch > now_epoch:
        raise RegistryConflictError(f"expected epoch {expected_epoch}, but the registry is at {now_epoch}")
    later = [event for event in events if event.epoch > expected_epoch and event.kind != "register"]
    if later:
        last = later[-1]
        raise RegistryConflictError(
            f"{last.name} moved on since epoch {expected_epoch}: {last.kind} {last.version} by {last.actor} "
            f"at epoch {last.epoch}; read it again and decide anew"
        )


def _before_last(versions: tuple[str, ...], version: str) -> tuple[str, ...]:
    for index in range(len(versions) - 1, -1, -1):
        if versions[index] == version:
            return versions[:index]
    return versions
