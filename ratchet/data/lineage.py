"""How each dataset was made, and from what: `lineage.jsonl` beside the manifest, one line per way.

The same content can be made in several ways, for example collected anew or merged; each adds a line and none is ever
removed. The file does not enter the dataset's digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.clock import iso_utc
from ratchet.data.atomic import write_bytes
from ratchet.data.manifest import DatasetRef
from ratchet.errors import ArtifactError, NotFoundError

LINEAGE_FILE = "lineage.jsonl"


class Way(BaseModel):
    """One way in which a dataset was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_by: str
    """What made it, in one line; empty where nobody said."""
    parents: tuple[str, ...]
    """Digests of the datasets from which it was made; none for what was collected."""
    made_at_ns: int | None = None
    """When it was first made this way, ns UTC, where somebody said."""


class LineageStep(BaseModel):
    """A dataset in the past of another one, or that one itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    depth: int
    """Steps back; 0 is the dataset that was asked about."""
    is_stored: bool
    """False where it was removed since; its own past is unknown then."""
    ways: tuple[Way, ...]


class Lineage(BaseModel):
    """The past of a dataset down to what was collected, the nearest first; each dataset appears once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[LineageStep, ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """Digests of the datasets that were made from no other, or whose past is unknown."""
        return tuple(step.digest for step in self.steps if not any(way.parents for way in step.ways))

    def __str__(self) -> str:
        return "\n".join(line for step in self.steps for line in _lines(step))


def lineage(root: Path, ref: DatasetRef) -> Lineage:
    """Follow the parents of a dataset below `root`, across every way in which each was made.

    Raises:
        NotFoundError: there is no such dataset.
        ArtifactError: a lineage file is damaged.
    """
    datasets = root.expanduser().resolve() / "datasets"
    if not (datasets / ref.digest[:16]).is_dir():
        raise NotFoundError(f"{datasets / ref.digest[:16]}: no such dataset; name one of those that are stored")
    steps: dict[str, LineageStep] = {}
    level = [ref.digest]
    while level:
        depth = steps[next(reversed(steps))].depth + 1 if steps else 0
        steps |= {digest: _step(datasets, digest, depth) for digest in level}
        parents = [parent for digest in level for way in steps[digest].ways for parent in way.parents]
        level = [digest for digest in dict.fromkeys(parents) if digest not in steps]
    return Lineage(steps=tuple(steps.values()))


def read_ways(folder: Path) -> tuple[Way, ...]:
    """Read how the dataset in `folder` was made, the first way first.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / LINEAGE_FILE
    try:
        return tuple(Way.model_validate_json(line) for line in path.read_bytes().splitlines())
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path}: the lineage cannot be read; remove the folder and collect again") from error


def add_way(folder: Path, way: Way) -> None:
    """Add a way to a dataset's lineage unless it is known; call it from one process at a time.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    known = read_ways(folder)
    if all((way.made_by, way.parents) != (one.made_by, one.parents) for one in known):
        write_ways(folder, [*known, way])


def write_ways(folder: Path, ways: Sequence[Way]) -> None:
    """Replace a dataset's lineage; the file is the old or the new one after a crash."""
    write_bytes(folder / LINEAGE_FILE, b"".join(way.model_dump_json().encode() + b"\n" for way in ways))


def _step(datasets: Path, digest: str, depth: int) -> LineageStep:
    folder = datasets / digest[:16]
    is_stored = folder.is_dir()
    return LineageStep(digest=digest, depth=depth, is_stored=is_stored, ways=read_ways(folder) if is_stored else ())


def _lines(step: LineageStep) -> list[str]:
    head = "  " * step.depth + step.digest[:12]
    if not step.is_stored:
        return [f"{head}  no longer stored"]
    return [f"{head}  {_describe(way)}" for way in step.ways]


def _describe(way: Way) -> str:
    when = f" at {iso_utc(way.made_at_ns)}" if way.made_at_ns is not None else ""
    parents = f" from {', '.join(parent[:12] for parent in way.parents)}" if way.parents else ""
    return f"{way.made_by or 'not said how'}{when}{parents}"
