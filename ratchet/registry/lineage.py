"""Where a version came from and what became of it, as a graph that people and programs can read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.clock import iso_utc
from ratchet.registry.base import ModelRegistry, ModelVersion, RegistryEvent
from ratchet.registry.tables import MOVES

NodeKind = Literal["dataset", "panel", "run", "version", "gate", "deployment"]

_ORIGINS: tuple[tuple[NodeKind, str, str], ...] = (
    ("dataset", "dataset_digest", "became"),
    ("panel", "panel_digest", "trained"),
    ("run", "tracking_run_id", "produced"),
)
"""What a version is made from, in order: kind, key of the metadata, and what it did to the next that is known."""
_SHOWN = 12


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LineageNode(_Record):
    """One thing that a version has to do with."""

    id: str = Field(description="Unique in the graph, for example dataset:4f0c...; for a version its number.")
    kind: NodeKind
    label: str = Field(description="One line for people.")


class LineageEdge(_Record):
    """One thing led to another."""

    source: str = Field(description="`id` of a node.")
    target: str = Field(description="`id` of a node.")
    label: str


class Lineage(_Record):
    """The graph of one version; its JSON is `model_dump_json()`."""

    name: str
    version: str
    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]

    def to_mermaid(self) -> str:
        """Return the graph as Mermaid text, which Markdown viewers draw."""
        number = {node.id: f"n{index}" for index, node in enumerate(self.nodes)}
        lines = ["flowchart LR"]
        lines += [f'  {number[node.id]}["{_mermaid(f"{node.kind}: {node.label}")}"]' for node in self.nodes]
        lines += [f'  {number[edge.source]} -->|"{_mermaid(edge.label)}"| {number[edge.target]}' for edge in self.edges]
        return "\n".join(lines) + "\n"

    def to_dot(self) -> str:
        """Return the graph as DOT text, which Graphviz draws."""
        lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
        lines += [f"  {_dot(node.id)} [label={_dot(f'{node.kind}: {node.label}')}];" for node in self.nodes]
        lines += [f"  {_dot(edge.source)} -> {_dot(edge.target)} [label={_dot(edge.label)}];" for edge in self.edges]
        return "\n".join([*lines, "}"]) + "\n"


def lineage(registry: ModelRegistry, name: str, version: str = "latest") -> Lineage:
    """Return the lineage of a version: what it was made from, what the gate said, when it was live.

    Read are the keys dataset_digest, panel_digest, tracking_run_id and parent_version of its metadata, where they are
    there, the gate's seal, and every event that gave it a stage or took one from it.

    Args:
        registry: where the version is.
        name: of the model.
        version: as for `ModelRegistry.get_model`.

    Raises:
        NotFoundError: there is no such version.
    """
    subject = registry.get_model(name, version)
    graph = _Graph(subject)
    graph.add_origins()
    graph.add_parent({known.version: known for known in registry.list_models(name)})
    graph.add_gate()
    for event in registry.history(name):
        graph.add_event(event)
    return Lineage(name=name, version=subject.version, nodes=tuple(graph.nodes), edges=tuple(graph.edges))


class _Graph:
    def __init__(self, subject: ModelVersion) -> None:
        self._subject = subject
        self.nodes = [_version_node(subject)]
        self.edges: list[LineageEdge] = []

    def add_origins(self) -> None:
        known = [
            (LineageNode(id=f"{kind}:{value}", kind=kind, label=value[:_SHOWN]), label)
            for kind, key, label in _ORIGINS
            if (value := self._metadata(key)) is not None
        ]
        targets = [node.id for node, _ in known[1:]] + [self._subject.version]
        for (node, label), target in zip(known, targets, strict=False):
            self.nodes.append(node)
            self._link(node.id, target, label)

    def add_parent(self, versions: dict[str, ModelVersion]) -> None:
        parent = self._metadata("parent_version")
        if parent is None or parent == self._subject.version:
            return
        known = versions.get(parent)
        self.nodes.append(_version_node(known) if known else LineageNode(id=parent, kind="version", label=parent))
        self._link(parent, self._subject.version, "is the parent of")

    def add_gate(self) -> None:
        gate = self._subject.gate
        if gate is None:
            return
        node = LineageNode(id=f"gate:{gate.digest}", kind="gate", label=f"{gate.verdict} {gate.digest[:_SHOWN]}")
        self.nodes.append(node)
        self._link(node.id, self._subject.version, "judged")

    def add_event(self, event: RegistryEvent) -> None:
        is_about = event.version == self._subject.version
        if event.kind not in MOVES or not (is_about or event.previous == self._subject.version):
            return
        label = f"{event.kind} {event.version}, {iso_utc(event.ts_ns)}, {event.actor}: {event.reason}"
        node = LineageNode(id=f"event:{event.epoch}", kind="deployment", label=label)
        self.nodes.append(node)
        self._link(self._subject.version, node.id, event.kind if is_about else "was displaced by")

    def _link(self, source: str, target: str, label: str) -> None:
        self.edges.append(LineageEdge(source=source, target=target, label=label))

    def _metadata(self, key: str) -> str | None:
        value = self._subject.metadata.get(key)
        return value if isinstance(value, str) and value else None


def _version_node(version: ModelVersion) -> LineageNode:
    label = f"{version.name} {version.version} ({version.stage}) {version.digest[:_SHOWN]}"
    return LineageNode(id=version.version, kind="version", label=label)


def _mermaid(text: str) -> str:
    # Mermaid's own form of an entity: a number sign instead of the ampersand.
    return " ".join(text.split()).replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


def _dot(text: str) -> str:
    return '"' + " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"') + '"'
