"""What was live at a moment, and why: read from the journal and from the gate's report that it names."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from ratchet.errors import ArtifactError, InputError, NotFoundError
from ratchet.evaluation.gate import GateReport
from ratchet.registry import ModelRegistry, RegistryEvent, production_at
from ratchet.registry.base import EventKind
from ratchet.registry.evidence import GATE_FILE

_LIVE: frozenset[EventKind] = frozenset({"promote", "rollback", "withdraw"})


class Explanation(BaseModel):
    """What was in production at a time, since when, by whom, why, and on what evidence.

    `event` is the change that brought it there (or took production empty), None before the first one. `gate` is the
    report that let the version into production; `evidence_note` says why there is none to show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    at_ns: int
    version: str | None
    event: RegistryEvent | None
    until_ns: int | None = Field(description="When the next change of production came; None if it has not.")
    gate: GateReport | None
    evidence_note: str
    n_events: int = Field(description="Length of the journal, whose chain of hashes was checked.")


def explain(registry: ModelRegistry, name: str, at_ns: int) -> Explanation:
    """Say what was in production at a time, and why.

    Raises:
        NotFoundError: there is no such model.
        ArtifactError: the journal was altered, so nothing that it says can be relied on.
    """
    n_events = registry.verify_history()
    events = registry.history(name)
    if not events:
        raise NotFoundError(f"no model named {name!r} was ever registered; see `ratchet registry list`")
    changes = [event for event in events if _moves_production(event, events)]
    before = [event for event in changes if event.ts_ns <= at_ns]
    after = [event for event in changes if event.ts_ns > at_ns]
    version = production_at(events, at_ns)
    gate, note = _evidence(registry, name, version, events)
    return Explanation(
        model=name,
        at_ns=at_ns,
        version=version,
        event=before[-1] if before else None,
        until_ns=after[0].ts_ns if after else None,
        gate=gate,
        evidence_note=note,
        n_events=n_events,
    )


def only_model(registry: ModelRegistry, name: str | None) -> str:
    """Return the model that is meant: the one named, or the only one there is.

    Raises:
        NotFoundError: nothing is registered.
        InputError: there are several, and none was named.
    """
    if name is not None:
        return name
    names = sorted({version.name for version in registry.list_models()})
    if not names:
        raise NotFoundError("nothing is registered yet; turn the loop once with: ratchet run")
    if len(names) > 1:
        raise InputError(f"there are {len(names)} models, name one of them: {', '.join(names)}")
    return names[0]


def _moves_production(event: RegistryEvent, events: Sequence[RegistryEvent]) -> bool:
    if event.kind != "withdraw":
        return event.kind in _LIVE
    # A version that was only staged can be withdrawn as well, which leaves production as it is.
    earlier = [other for other in events if other.epoch < event.epoch]
    return production_at(earlier, event.ts_ns) == event.version


def _evidence(
    registry: ModelRegistry, name: str, version: str | None, events: Sequence[RegistryEvent]
) -> tuple[GateReport | None, str]:
    if version is None:
        return None, "nothing was in production"
    found = registry.get_model(name, version)
    if found.is_pruned:
        return None, f"retention removed the files of {version}; the journal keeps the digest of its gate report"
    try:
        report = GateReport.model_validate_json(registry.read_file(found, GATE_FILE))
    except NotFoundError:
        return None, f"{version} was registered without a report of the gate"
    except ValueError as error:
        raise ArtifactError(f"{name} {version}: {GATE_FILE} is no report of the gate: {error}") from error
    named = {event.evidence for event in events if event.version == version and event.kind == "promote"}
    if not report.is_sealed or (named and named != {report.digest}):
        raise ArtifactError(f"{name} {version}: {GATE_FILE} is not the report that the journal names")
    return report, "the report is sealed, and the journal names it"
