"""What every model registry must do: subclass `RegistryContract` and give it a `registry` fixture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.testing.registry.history import HistoryContract
from ratchet.testing.registry.stages import StagesContract
from ratchet.testing.registry.versions import VersionsContract


class RegistryContract(VersionsContract, StagesContract, HistoryContract, ABC):
    """The tests; each starts with an empty registry whose clock is the `clock` fixture."""

    @pytest.fixture
    def clock(self) -> FixedClock:
        """A clock that tests advance."""
        return FixedClock(1_000)

    @pytest.fixture
    @abstractmethod
    def registry(self, clock: FixedClock, tmp_path: Path) -> Any:
        """Return or yield an empty registry."""
