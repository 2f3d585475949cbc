"""A change costs the same whatever the length of the history: no statement of one reads a table from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ratchet.clock import FixedClock
from ratchet.registry import FileRegistry
from ratchet.testing.gate import gate_report

WHO: Any = {"actor": "test", "reason": "to see"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FileRegistry]:
    with FileRegistry(tmp_path, f"sqlite:///{tmp_path / 'registry.sqlite'}", FixedClock(7)) as registry:
        yield registry


def test_no_change_reads_a_whole_table(registry: FileRegistry) -> None:
    """SQLite's own plan of every statement of every change searches by an index and sorts nothing."""
    seen: list[tuple[str, Any]] = []

    def remember(_: Any, __: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            seen.append((statement, parameters))

    for _ in range(4):
        _register(registry)
    event.listen(Engine, "before_cursor_execute", remember)
    try:
        _change_everything(registry)
    finally:
        event.remove(Engine, "before_cursor_execute", remember)
    assert len({statement for statement, _ in seen}) > 15
    with registry._database.read() as connection:
        for statement, parameters in dict(seen).items():
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
                # All events of a model are as bad as all events; the one scan is over the five rows of a union.
                assert not row.detail.startswith("USE TEMP"), f"{row.detail}: {statement}"
                assert not row.detail.startswith("SCAN") or row.detail == "SCAN anon_1", f"{row.detail}: {statement}"
                assert "ix_events_name" not in row.detail, f"{row.detail}: {statement}"


def _change_everything(registry: FileRegistry) -> None:
    epoch = registry.epoch()
    _register(registry)
    for number in ("v1.0.0", "v1.1.0", "v1.2.0"):
        registry.set_production_model("btc", number, **WHO, expected_epoch=epoch)
        epoch = registry.epoch()
    registry.rollback_to_previous("btc", **WHO)
    registry.set_staging_model("btc", "v1.3.0", **WHO)
    registry.withdraw_model("btc", "v1.3.0", **WHO)
    registry.set_pointer("btc", "challenger", "v1.3.0", **WHO)
    registry.release_pointer("btc", "challenger", **WHO)
    registry.retire_model("btc", "v1.3.0", **WHO)
    registry.withdraw_model("btc", "v1.1.0", **WHO)
    for selector in ("latest", "v1.0.0", "previous"):
        registry.get_model("btc", selector)
    registry.pointers("btc")


def _register(registry: FileRegistry) -> None:
    registry.register_model("btc", {"model.onnx": b"onnx", "gate.json": gate_report(b"onnx")}, {}, {}, **WHO)
