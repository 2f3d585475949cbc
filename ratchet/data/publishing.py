"""Putting a dataset's folder together out of sight, sharing files with stored datasets, and showing it at once."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ratchet.data.atomic import fsync_folder, sha256_bytes, sha256_file, write_bytes, write_json
from ratchet.data.lineage import Way, write_ways
from ratchet.data.manifest import DatasetManifest, Partition, describe_schema
from ratchet.data.partitions import Part

MANIFEST_FILE = "manifest.json"
SCHEMA_FILE = "schema.json"

_STAGE_PREFIX = ".stage-"
_N_WRITERS = 4

_Stored = Mapping[str, tuple[Path, str]]  # content digest -> a stored file that holds it, its digest


def publish(
    folder: Path, manifest: DatasetManifest, parts: Sequence[Part], contents: Mapping[str, str], way: Way
) -> None:
    """Write or link every part, then show the finished folder; to be called while `only_writer` is held."""
    stored = _find_stored(folder.parent, set(contents.values()))
    stage = Path(tempfile.mkdtemp(prefix=_STAGE_PREFIX, dir=folder.parent))
    stage.chmod(0o755)
    with ThreadPoolExecutor(_N_WRITERS) as pool:
        store = partial(_store, stage, contents=contents, stored=stored)
        partitions = dict(zip((part.path for part in parts), pool.map(store, parts), strict=True))
    for table in {part.table for part in parts}:
        fsync_folder(stage / table)
    complete = manifest.model_copy(update={"partitions": partitions})
    write_json(stage / SCHEMA_FILE, describe_schema(manifest.columns))
    write_ways(stage, [way])
    write_bytes(stage / MANIFEST_FILE, complete.model_dump_json(indent=2).encode() + b"\n")
    stage.rename(folder)
    fsync_folder(folder.parent)


@contextmanager
def only_writer(datasets: Path) -> Iterator[None]:
    """Hold the lock of the datasets folder; whatever is staged while it is held belongs to a process that died."""
    datasets.mkdir(parents=True, exist_ok=True)
    fsync_folder(datasets.parent)
    with (datasets / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stage in datasets.glob(f"{_STAGE_PREFIX}*"):
            shutil.rmtree(stage)
        yield


def _store(stage: Path, part: Part, *, contents: Mapping[str, str], stored: _Stored) -> Partition:
    content, target = contents[part.path], stage / part.path
    twin = stored.get(content)
    if twin is None or not _link(*twin, target):
        payload = part.payload()
        write_bytes(target, payload)
        target.chmod(0o444)  # the file may come to belong to several datasets
        return part.describe(content, sha256_bytes(payload))
    return part.describe(content, twin[1])


def _link(file: Path, digest: str, target: Path) -> bool:
    """Link a stored file unless it was altered or the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if sha256_file(file) != digest:
            return False
        os.link(file, target)
    except OSError:
        return False
    fsync_folder(target.parent)
    return True


def _find_stored(datasets: Path, wanted: Collection[str]) -> _Stored:
    """Find stored files by content; manifests are taken at their word here, because links are verified."""
    found: dict[str, tuple[Path, str]] = {}
    for path in datasets.glob(f"*/{MANIFEST_FILE}"):
        try:
            partitions = json.loads(path.read_bytes())["partitions"]
            held = {one["content_digest"]: (path.parent / name, one["file_digest"]) for name, one in partitions.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a damaged dataset or one of an earlier layout has nothing to share
        found |= {content: held[content] for content in held.keys() & wanted}
    return found
