"""The chain of hashes over the history: an event that is altered, removed or slipped in no longer fits the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ratchet.data.seal import seal_digest
from ratchet.errors import ArtifactError
from ratchet.registry.base import RegistryEvent

FIRST_HASH = "0" * 64
"""`previous_hash` of the first event."""


def event_hash(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an event's fields as canonical JSON; `hash` itself does not count."""
    return seal_digest({key: value for key, value in fields.items() if key != "hash"})


def check_chain(events: Iterable[RegistryEvent]) -> int:
    """Check the whole history, in order of epoch, and return how many events it has.

    Raises:
        ArtifactError: an event was altered, removed or inserted; the message names the first.
    """
    n_events, previous_hash = 0, FIRST_HASH
    for event in events:
        n_events += 1
        if event.epoch != n_events:
            raise _broken(n_events, f"is missing; epoch {event.epoch} follows epoch {n_events - 1}")
        if event.previous_hash != previous_hash:
            raise _broken(event.epoch, "does not follow the event before it")
        if event.hash != event_hash(event.model_dump()):
            raise _broken(event.epoch, "was altered after it was written")
        previous_hash = event.hash
    return n_events


def _broken(epoch: int, what: str) -> ArtifactError:
    return ArtifactError(f"the history is not what was written: epoch {epoch} {what}; restore it from a backup")
