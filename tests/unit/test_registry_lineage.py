"""The lineage of a version: what it was made from, what the gate said, when it was live; and its drawings."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import NotFoundError
from ratchet.registry import FileRegistry
from ratchet.registry.lineage import Lineage, lineage
from ratchet.testing.gate import gate_report

ORIGINS = {"dataset_digest": "d" * 64, "panel_digest": "a" * 64, "tracking_run_id": "run-7"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FileRegistry]:
    with FileRegistry(tmp_path, f"sqlite:///{tmp_path / 'registry.sqlite'}", FixedClock(0)) as registry:
        yield registry


def register(registry: FileRegistry, metadata: dict[str, Any]) -> None:
    files: dict[str, Path | bytes] = {"model.onnx": b"onnx", "gate.json": gate_report(b"onnx")}
    registry.register_model("btc", files, metadata, {}, actor="flow", reason="retrain")


def promote(registry: FileRegistry, version: str, reason: str = "better") -> None:
    registry.set_production_model("btc", version, actor="ann", reason=reason)


def told(found: Lineage) -> set[tuple[str, str, str]]:
    return {(edge.source.split(":")[0], edge.label, edge.target.split(":")[0]) for edge in found.edges}


def test_the_whole_life_of_a_version_is_told(registry: FileRegistry) -> None:
    """Dataset, panel, run, parent, verdict, and every event that gave a stage or took it, in order."""
    register(registry, {})
    register(registry, {**ORIGINS, "parent_version": "v1.0.0"})
    register(registry, {})
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        promote(registry, version)
    registry.rollback_to_previous("btc", actor="ann", reason="worse")
    found = lineage(registry, "btc", "production")
    assert found.version == "v1.1.0"
    assert told(found) == {
        ("dataset", "became", "panel"),
        ("panel", "trained", "run"),
        ("run", "produced", "v1.1.0"),
        ("v1.0.0", "is the parent of", "v1.1.0"),
        ("gate", "judged", "v1.1.0"),
        ("v1.1.0", "promote", "event"),
        ("v1.1.0", "was displaced by", "event"),
        ("v1.1.0", "rollback", "event"),
    }
    deployments = [node for node in found.nodes if node.kind == "deployment"]
    assert [node.id for node in deployments] == ["event:5", "event:6", "event:7"]
    assert deployments[2].label == "rollback v1.1.0, 1970-01-01T00:00:00Z, ann: worse"
    nodes = {node.id for node in found.nodes}
    assert len(nodes) == len(found.nodes) == 9
    assert {edge.source for edge in found.edges} | {edge.target for edge in found.edges} <= nodes
    assert Lineage.model_validate(json.loads(found.model_dump_json())) == found


def test_what_is_not_known_is_left_out(registry: FileRegistry) -> None:
    """Without metadata and report a version stands alone; a run without a panel still leads to the version."""
    registry.register_model("btc", {"model.onnx": b"onnx"}, {"panel_digest": 7}, {}, actor="a", reason="b")
    alone = lineage(registry, "btc")
    assert [(node.id, node.kind) for node in alone.nodes] == [("v1.0.0", "version")]
    assert alone.edges == ()
    register(registry, {"dataset_digest": "d" * 64, "tracking_run_id": "run-7", "parent_version": "v9.0.0"})
    found = told(lineage(registry, "btc"))
    assert ("dataset", "became", "run") in found
    assert ("v9.0.0", "is the parent of", "v1.1.0") in found
    with pytest.raises(NotFoundError):
        lineage(registry, "eth")


def test_the_drawings_hold_every_node_and_survive_any_text(registry: FileRegistry) -> None:
    """Quotes, brackets and line breaks in a reason break neither Mermaid nor DOT."""
    register(registry, ORIGINS)
    promote(registry, "v1.0.0", reason='say "yes"\n] --> x; <b> \\ #1 | }')
    found = lineage(registry, "btc")
    mermaid, dot = found.to_mermaid(), found.to_dot()
    assert mermaid.startswith("flowchart LR\n")
    assert len(mermaid.splitlines()) == 1 + len(found.nodes) + len(found.edges)
    assert len(dot.splitlines()) == 4 + len(found.nodes) + len(found.edges)
    for line in mermaid.splitlines()[1:]:
        assert line.count('"') == 2, line
    assert "#quot;yes#quot;" in mermaid
    assert '\\"yes\\"' in dot
    if shutil.which("dot") is not None:
        assert subprocess.run(["dot", "-Tsvg"], input=dot, text=True, capture_output=True, check=False).returncode == 0
