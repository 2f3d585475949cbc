"""A registry in a known state, and every promise that must hold after whatever happened to it."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from ratchet.clock import SystemClock
from ratchet.errors import RatchetError
from ratchet.registry import FileRegistry, ModelVersion, production_at, timeline
from ratchet.testing.gate import gate_report

NAME = "btc"
WHO: Any = {"actor": "child", "reason": "crash test"}
MODEL = b"onnx" * 500
FILES: dict[str, Path | bytes] = {"model.onnx": MODEL, "model.pt": b"weights" * 500, "gate.json": gate_report(MODEL)}


def open_registry(root: Path) -> FileRegistry:
    return FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", SystemClock())


def register(registry: FileRegistry) -> ModelVersion:
    return registry.register_model(NAME, FILES, {}, {"accuracy": 0.5}, **WHO)


def prepare(root: Path) -> None:
    """Four versions: v1.0.0 archived, v1.1.0 in production, v1.2.0 staged, v1.3.0 untouched."""
    with open_registry(root) as registry:
        for _ in range(4):
            register(registry)
        registry.set_production_model(NAME, "v1.0.0", **WHO)
        registry.set_production_model(NAME, "v1.1.0", **WHO)
        registry.set_staging_model(NAME, "v1.2.0", **WHO)


def problems(root: Path) -> list[str]:
    """Open a registry after a crash and return every broken promise."""
    found: list[str] = []
    try:
        with open_registry(root) as registry:
            _check_versions(registry, found)
            _check_history(registry, found)
            _check_files(registry, root, found)
    except RatchetError as error:
        found.append(f"cannot be opened: {error}")
    connection = sqlite3.connect(root / "registry.sqlite")
    found += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    connection.close()
    return found


def _check_versions(registry: FileRegistry, found: list[str]) -> None:
    versions = registry.list_models(NAME)
    live = [version.version for version in versions if version.stage == "production"]
    if versions and len(live) != 1:
        found.append(f"{len(live)} versions in production")
    for version in versions:
        if version.is_pruned:
            continue
        try:
            for filename in json.loads(registry.read_file(version, "MANIFEST.json")):
                registry.read_file(version, filename)
        except RatchetError as error:
            found.append(f"{version.version} is damaged: {error}")


def _check_history(registry: FileRegistry, found: list[str]) -> None:
    events = registry.history()
    if [item.epoch for item in events] != list(range(1, len(events) + 1)):
        found.append("epochs have gaps")
    try:
        registry.verify_history()
    except RatchetError as error:
        found.append(str(error))
    told = production_at(events, time.time_ns())
    live = next((version.version for version in registry.list_models(NAME) if version.stage == "production"), None)
    if told != live:
        found.append(f"the history says {told} is in production, the versions say {live}")
    target = timeline.rollback_target(item for item in events if item.name == NAME)
    if target != registry.pointers(NAME).get("previous"):
        found.append(f"the history says {target} is the one to roll back to, the tables do not")


def _check_files(registry: FileRegistry, root: Path, found: list[str]) -> None:
    versions = registry.list_models(NAME)
    live = next((version.version for version in versions if version.stage == "production"), None)
    link = root / NAME / "production"
    target = link.readlink().name if link.is_symlink() else None
    if target != live:
        found.append(f"the link points at {target}, the database says {live}")
    expected = {version.version for version in versions if not version.is_pruned} | ({"production"} if live else set())
    present = {path.name for path in (root / NAME).iterdir()} if versions else set()
    if present != expected:
        found.append(f"{root / NAME} holds {sorted(present)} instead of {sorted(expected)}")
    leftovers = [str(path) for path in (root / ".staging").glob("*")] if root.exists() else []
    found += [f"left over: {path}" for path in leftovers]
