"""A registry in a known state, and every promise that must hold after whatever happened to it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from ratchet.clock import SystemClock
from ratchet.errors import RatchetError
from ratchet.registry import FileRegistry, ModelVersion
from tests.unit.registry_promises import NAME, WHO, problems, register


def open_registry(root: Path, url: str | None = None, *, read_only: bool = False) -> FileRegistry:
    """Open the registry in a folder; its database is beside the models unless `url` names another."""
    return FileRegistry(root, url or f"sqlite:///{root / 'registry.sqlite'}", SystemClock(), read_only=read_only)


def prepare(root: Path) -> None:
    """Six versions: v1.0.0 archived, v1.1.0 live, v1.2.0 staged, the others untouched, the challenger on v1.3.0."""
    with open_registry(root) as registry:
        for _ in range(6):
            register(registry)
        registry.set_production_model(NAME, "v1.0.0", **WHO)
        registry.set_production_model(NAME, "v1.1.0", **WHO)
        registry.set_staging_model(NAME, "v1.2.0", **WHO)
        registry.set_pointer(NAME, "challenger", "v1.3.0", **WHO)


def broken(root: Path, url: str | None = None) -> list[str]:
    """Open a registry, first as a server does and then for writing, which recovers it; return every broken promise."""
    found: list[str] = []
    try:
        with open_registry(root, url, read_only=True) as registry:
            registry.verify_history()
            served = registry.list_models()
        with open_registry(root, url) as registry:
            registry.verify_history()
            versions = registry.list_models(NAME)
            if registry.list_models() != served:
                found.append(f"recovery changed {served} into {registry.list_models()}")
            found += [*_stages(registry, versions), *_files(registry, versions), *_folders(root, versions)]
    except RatchetError as error:
        return [f"cannot be used: {error}"]
    if url is None:
        found += _damage(root)
        # The other harness knows neither retention nor a model that was taken out of production.
        if any(version.stage == "production" for version in versions) and not any(v.is_pruned for v in versions):
            found += [problem for problem in problems(root) if problem not in found]
    return found


def _stages(registry: FileRegistry, versions: list[ModelVersion]) -> list[str]:
    found = []
    for stage in ("production", "staging"):
        held = [version.version for version in versions if version.stage == stage]
        found += [f"{len(held)} versions in {stage}: {', '.join(held)}"] if len(held) > 1 else []
    kept = {version.version for version in versions if not version.is_retired and not version.is_pruned}
    pointed = registry.pointers(NAME)
    found += [f"{pointer} is on {version}" for pointer, version in pointed.items() if version not in kept]
    return found


def _files(registry: FileRegistry, versions: list[ModelVersion]) -> list[str]:
    found = []
    for version in versions:
        if version.is_pruned:
            continue
        try:
            for filename in json.loads(registry.read_file(version, "MANIFEST.json")):
                registry.read_file(version, filename)
        except RatchetError as error:
            found.append(f"{version.version} is damaged: {error}")
    return found


def _folders(root: Path, versions: list[ModelVersion]) -> list[str]:
    if not versions:
        return []
    live = next((version.version for version in versions if version.stage == "production"), None)
    link = root / NAME / "production"
    target = link.readlink().name if link.is_symlink() else None
    found = [f"the link points at {target}, the database says {live}"] if target != live else []
    expected = {version.version for version in versions if not version.is_pruned} | ({"production"} if live else set())
    present = {path.name for path in (root / NAME).iterdir()}
    if present != expected:
        found.append(f"{root / NAME} holds {sorted(present)} instead of {sorted(expected)}")
    return found + [f"left over: {path}" for path in (root / ".staging").glob("*")]


def _damage(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "registry.sqlite")) as connection:
        return [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
