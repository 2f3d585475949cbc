"""Steps that the tests of every registry are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ratchet.errors import RatchetError
from ratchet.registry import ModelRegistry, ModelVersion
from ratchet.testing.gate import gate_report

WHO: Any = {"actor": "contract", "reason": "to see"}


def register(
    registry: ModelRegistry,
    name: str = "btc",
    *,
    content: bytes = b"onnx",
    verdict: str | None = "approve",
    metadata: dict[str, Any] | None = None,
) -> ModelVersion:
    """Register a small version that the gate judged; with the verdict None, one that it never saw."""
    files: dict[str, Path | bytes] = {"model.onnx": content}
    if verdict is not None:
        files["gate.json"] = gate_report(content, verdict)
    return registry.register_model(name, files, metadata or {}, {"accuracy": 0.5}, **WHO)


def promote(registry: ModelRegistry, version: ModelVersion) -> ModelVersion:
    """Put a version into production."""
    return registry.set_production_model(version.name, version.version, **WHO)


def stages(registry: ModelRegistry, name: str = "btc") -> dict[str, str]:
    """Return the stage of each version."""
    return {version.version: version.stage for version in registry.list_models(name)}


def error_of(call: Callable[[Any], object], argument: Any) -> type[Exception] | None:
    """Return the type of the library's error that a call raises."""
    try:
        call(argument)
    except RatchetError as error:
        return type(error)
    return None
