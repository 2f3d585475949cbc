"""Whether the tables say what the history says; a change of a table alone leaves the chain of hashes whole."""

from __future__ import annotations

from collections.abc import Sequence

from ratchet.errors import ArtifactError
from ratchet.registry.base import RegistryEvent
from ratchet.registry.records import VersionRows
from ratchet.registry.timeline import stages, succession


def refuse_inconsistent(events: Sequence[RegistryEvent], rows: VersionRows) -> None:
    """Compare stages, order of succession and pointers with what the whole history leads to.

    Raises:
        ArtifactError: a table says something else; the message names the first difference.
    """
    told, kept = stages(events), rows.stages()
    for name, version in sorted(told.keys() | kept.keys()):
        found = kept.get((name, version), "unknown")
        expected = told.get((name, version), "unknown")
        if expected != found:
            raise _broken(len(events), f"{name} {version} is {expected}", found)
    for name in rows.names():
        of_model = [event for event in events if event.name == name]
        earlier, stored = succession(of_model).earlier, rows.succession(name).all()
        if earlier != stored:
            raise _broken(len(events), f"{name} goes back over {_listed(earlier)}", _listed(stored))
        pointers, held = _pointers(of_model), rows.pointers(name).all()
        if pointers != held:
            raise _broken(len(events), f"{name} has the pointers {pointers}", str(held))


def _pointers(events: Sequence[RegistryEvent]) -> dict[str, str]:
    held: dict[str, str] = {}
    for event in events:
        if event.kind == "point" and event.pointer is not None:
            held[event.pointer] = event.version
        if event.kind == "release" and event.pointer is not None:
            held.pop(event.pointer, None)
    return held


def _listed(versions: Sequence[str]) -> str:
    return ", ".join(versions) or "nothing"


def _broken(epoch: int, expected: str, found: str) -> ArtifactError:
    return ArtifactError(
        f"the history is not what was written: after epoch {epoch}, its last, {expected}, but the registry has it as "
        f"{found}; restore it from a backup"
    )
