"""`ratchet why`: what was live at a moment, on what evidence, and what happens where the evidence was tampered with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.cli.main import app
from ratchet.clock import FixedClock, parse_utc
from ratchet.data.atomic import sha256_bytes
from ratchet.errors import ArtifactError, InputError, NotFoundError, RegistryConflictError
from ratchet.evaluation.gate import GateReport, judge
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.registry.evidence import judged_digest
from ratchet.rollout.explanation import explain, only_model
from tests.unit.test_gate import BETTER, QUICK, WORSE, evidence

WHO: Any = {"actor": "retrain", "reason": "canary agreed"}
HOUR_NS = 3_600_000_000_000
START_NS = parse_utc("2026-11-22T12:00")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START_NS)


@pytest.fixture
def registry(tmp_path: Path, clock: FixedClock) -> Iterator[FileRegistry]:
    root = tmp_path / "registry"
    with FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", clock) as registry:
        yield registry


@pytest.fixture(scope="module")
def approval() -> GateReport:
    return judge(evidence(BETTER, WORSE), QUICK)


def register(
    registry: FileRegistry,
    approval: GateReport,
    content: bytes,
    *,
    name: str = "btc",
    champion: str | None = None,
) -> ModelVersion:
    about = {"model": name, "model_digest": sha256_bytes(content), "judged": judged_digest({}), "champion": champion}
    report = approval.model_copy(update=about).sealed()
    files: dict[str, Path | bytes] = {"model.onnx": content, "gate.json": report.model_dump_json().encode()}
    return registry.register_model(name, files, {}, {}, **WHO)


def live_through_the_day(registry: FileRegistry, approval: GateReport, clock: FixedClock) -> None:
    """v1.0.0 from 13:00, v1.1.0 from 14:00, rolled back at 15:00, nothing from 16:00."""
    first = register(registry, approval, b"one")
    second = register(registry, approval, b"two", champion="btc v1.0.0")
    clock.advance(HOUR_NS)
    registry.set_production_model("btc", first.version, **WHO)
    clock.advance(HOUR_NS)
    registry.set_production_model("btc", second.version, **WHO)
    clock.advance(HOUR_NS)
    registry.rollback_to_previous("btc", actor="on call", reason="drawdown")
    clock.advance(HOUR_NS)
    registry.withdraw_model("btc", "v1.0.0", actor="on call", reason="venue is down")


@pytest.mark.parametrize(
    ("at", "version", "kind", "actor", "until"),
    [
        ("12:30", None, None, None, "13:00"),
        ("13:00", "v1.0.0", "promote", "retrain", "14:00"),
        ("14:05", "v1.1.0", "promote", "retrain", "15:00"),
        ("15:30", "v1.0.0", "rollback", "on call", "16:00"),
        ("23:00", None, "withdraw", "on call", None),
    ],
)
def test_every_moment_has_its_answer(
    registry: FileRegistry,
    approval: GateReport,
    clock: FixedClock,
    at: str,
    version: str | None,
    kind: str | None,
    actor: str | None,
    until: str | None,
) -> None:
    """Version, change, person and time of the next change, for each part of a day with a rollback."""
    live_through_the_day(registry, approval, clock)
    found = explain(registry, "btc", parse_utc(f"2026-11-22T{at}"))
    assert found.version == version
    assert (found.event.kind if found.event else None) == kind
    assert (found.event.actor if found.event else None) == actor
    assert found.until_ns == (parse_utc(f"2026-11-22T{until}") if until else None)
    assert (found.gate is not None) == (version is not None)
    assert found.n_events == 6


def test_the_evidence_is_the_report_that_the_journal_names(
    registry: FileRegistry, approval: GateReport, clock: FixedClock
) -> None:
    """The answer carries the gate's report on that very model, seal intact."""
    live_through_the_day(registry, approval, clock)
    found = explain(registry, "btc", parse_utc("2026-11-22T14:05"))
    assert found.gate is not None
    assert found.gate.is_sealed
    assert found.gate.model_digest == sha256_bytes(b"two")
    assert found.event is not None
    assert found.event.evidence == found.gate.digest


def test_an_approval_against_another_champion_is_stale(registry: FileRegistry, approval: GateReport) -> None:
    """Two candidates beat v1.0.0; the second may not replace the first, with which nobody compared it."""
    first = register(registry, approval, b"one")
    registry.set_production_model("btc", first.version, **WHO)
    rivals = [register(registry, approval, content, champion="btc v1.0.0") for content in (b"two", b"three")]
    registry.set_production_model("btc", rivals[0].version, **WHO)
    with pytest.raises(RegistryConflictError, match=r"compared it with v1\.0\.0, and v1\.1\.0 is there now"):
        registry.set_production_model("btc", rivals[1].version, **WHO)
    with pytest.raises(RegistryConflictError, match=r"compared it with nothing, and v1\.1\.0 is there now"):
        registry.set_production_model("btc", first.version, **WHO)
    assert registry.get_model("btc", "production").version == "v1.1.0"
    assert registry.rollback_to_previous("btc", **WHO).version == "v1.0.0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "eth"}, "a candidate for eth, not for btc"),
        ({"judged": judged_digest({"train_end_ns": 5})}, "judged other metadata"),
        ({"model_digest": "0" * 64}, "judged another model.onnx"),
    ],
)
def test_a_report_holds_for_what_was_judged_alone(
    registry: FileRegistry, approval: GateReport, change: dict[str, str], reason: str
) -> None:
    """A report about another name, other metadata or another file is not a report on this candidate."""
    about = {"model": "btc", "model_digest": sha256_bytes(b"one"), "judged": judged_digest({})}
    report = approval.model_copy(update=about | change).sealed().model_dump_json().encode()
    with pytest.raises(InputError, match=reason):
        registry.register_model("btc", {"model.onnx": b"one", "gate.json": report}, {}, {}, **WHO)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET gate_verdict = 'approve' WHERE version = 'v1.1.0'",
        "UPDATE versions SET metadata = '{\"train_end_ns\": 0}' WHERE version = 'v1.1.0'",
        "UPDATE versions SET metrics = '{\"accuracy\": 0.99}' WHERE version = 'v1.1.0'",
    ],
)
def test_a_row_that_was_edited_disagrees_with_the_sealed_files(
    registry: FileRegistry, approval: GateReport, tmp_path: Path, statement: str
) -> None:
    """Whoever makes a rejected version an approved one in the database has not changed its sealed report."""
    first = register(registry, approval, b"one")
    registry.set_production_model("btc", first.version, **WHO)
    inconclusive = approval.model_copy(update={"verdict": "inconclusive"})
    register(registry, inconclusive, b"two", champion="btc v1.0.0")
    connection = sqlite3.connect(tmp_path / "registry" / "registry.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(ArtifactError, match="the database says something else than the sealed"):
        registry.verify_version(registry.get_model("btc", "v1.1.0"))
    with pytest.raises(ArtifactError, match="the database says something else than the sealed"):
        registry.set_staging_model("btc", "v1.1.0", **WHO)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM succession", "INSERT INTO pointers (name, pointer, version) VALUES ('btc', 'challenger', 'v1.0.0')"],
)
def test_tables_that_do_not_follow_from_the_journal_are_noticed(
    registry: FileRegistry, approval: GateReport, clock: FixedClock, tmp_path: Path, statement: str
) -> None:
    """The chain of hashes is whole, but the order of succession or a pointer is not what it leads to."""
    first = register(registry, approval, b"one")
    registry.set_production_model("btc", first.version, **WHO)
    second = register(registry, approval, b"two", champion="btc v1.0.0")
    registry.set_production_model("btc", second.version, **WHO)
    assert registry.verify_history() == 4
    connection = sqlite3.connect(tmp_path / "registry" / "registry.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(ArtifactError, match="the history is not what was written"):
        registry.verify_history()


def test_withdrawing_a_staged_version_does_not_change_what_is_live(
    registry: FileRegistry, approval: GateReport, clock: FixedClock
) -> None:
    """Only changes of production are part of the answer."""
    first = register(registry, approval, b"one")
    second = register(registry, approval, b"two", champion="btc v1.0.0")
    registry.set_production_model("btc", first.version, **WHO)
    clock.advance(HOUR_NS)
    registry.set_staging_model("btc", second.version, **WHO)
    registry.withdraw_model("btc", second.version, **WHO)
    found = explain(registry, "btc", clock.now_ns())
    assert found.version == "v1.0.0"
    assert found.event is not None
    assert found.event.kind == "promote"
    assert found.until_ns is None


def test_a_journal_that_was_altered_explains_nothing(
    registry: FileRegistry, approval: GateReport, clock: FixedClock, tmp_path: Path
) -> None:
    """Whoever rewrites a reason, and drops the trigger that forbids it, breaks the chain."""
    live_through_the_day(registry, approval, clock)
    connection = sqlite3.connect(tmp_path / "registry" / "registry.sqlite")
    connection.execute("DROP TRIGGER events_keep_UPDATE")
    connection.execute("UPDATE events SET reason = 'nothing happened' WHERE kind = 'rollback'")
    connection.commit()
    connection.close()
    with pytest.raises(ArtifactError, match="epoch 5"):
        explain(registry, "btc", clock.now_ns())


def test_a_model_that_is_not_there_is_not_found(registry: FileRegistry, approval: GateReport) -> None:
    """Without models there is nothing to explain, with several one must be named."""
    with pytest.raises(NotFoundError, match="nothing is registered yet"):
        only_model(registry, None)
    register(registry, approval, b"one")
    assert only_model(registry, None) == "btc"
    with pytest.raises(NotFoundError, match="'doge' was ever registered"):
        explain(registry, "doge", START_NS)
    register(registry, approval, b"one", name="eth")
    with pytest.raises(InputError, match="name one of them: btc, eth"):
        only_model(registry, None)


def test_the_command_answers_people_and_machines(
    registry: FileRegistry,
    approval: GateReport,
    clock: FixedClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ratchet why --at 14:05` names version, person, reason and criteria; with --json it is the whole record."""
    live_through_the_day(registry, approval, clock)
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    answer = CliRunner().invoke(app, ["why", "btc", "--at", "2026-11-22T14:05"])
    assert answer.exit_code == 0, answer.output
    for text in ("btc v1.1.0", "canary agreed", "accuracy_gain", "chain unbroken", "until 2026-11-22T15:00:00Z"):
        assert text in answer.output
    record = json.loads(CliRunner().invoke(app, ["why", "--at", "2026-11-22T15:30", "--json"]).output)
    assert (record["version"], record["event"]["reason"]) == ("v1.0.0", "drawdown")
    wrong = CliRunner().invoke(app, ["why", "--at", "yesterday"])
    assert isinstance(wrong.exception, InputError)
