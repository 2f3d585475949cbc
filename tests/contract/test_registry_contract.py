"""The file registry keeps the registry's contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.clock import FixedClock
from ratchet.registry import FileRegistry
from ratchet.testing.registry_contract import RegistryContract


class TestFileRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, clock: FixedClock, tmp_path: Path) -> Iterator[FileRegistry]:
        root = tmp_path / "registry"
        with FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", clock) as registry:
            yield registry
