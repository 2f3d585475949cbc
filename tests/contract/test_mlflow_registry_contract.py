"""The registry whose files are in MLflow keeps the registry's contract."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.clock import FixedClock
from ratchet.registry.mlflow import MlflowRegistry
from ratchet.testing.registry_contract import RegistryContract
from tests.mlflow_stores import migrated_store

__all__ = ["migrated_store"]

# MLflow announces what it will remove as FutureWarning.
pytestmark = [
    pytest.mark.filterwarnings("error::FutureWarning"),
    pytest.mark.filterwarnings("error::DeprecationWarning"),
]


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, clock: FixedClock, tmp_path: Path, migrated_store: Path) -> Iterator[MlflowRegistry]:
        shutil.copy(migrated_store, tmp_path / "mlflow.db")
        with MlflowRegistry(
            f"sqlite:///{tmp_path / 'mlflow.db'}",
            tmp_path / "artifacts",
            f"sqlite:///{tmp_path / 'registry.sqlite'}",
            clock,
        ) as registry:
            yield registry
