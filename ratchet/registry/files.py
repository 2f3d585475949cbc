"""The embedded registry: files below one folder, the truth in one database."""

from __future__ import annotations

from pathlib import Path

from ratchet.clock import Clock
from ratchet.registry.base import ModelVersion
from ratchet.registry.database import RegistryDatabase
from ratchet.registry.folders import ModelFolders
from ratchet.registry.records import VersionRows
from ratchet.registry.transactional import Inspect, TransactionalRegistry


class FileRegistry(TransactionalRegistry):
    """A `ModelRegistry` on the local file system; the port's docstrings say what each method promises.

    Layout: `name/vX.Y.Z/{model.onnx, metadata.json, metrics.json, ..., MANIFEST.json}` and `name/production ->
    vX.Y.Z`. Threads may share one object; a forked process makes its own. With SQLite the folder must be on a local
    disk; with Postgres it may be a disk that machines share, as long as that disk knows `flock`.

    Args:
        root: the registry's folder.
        database_url: `sqlite:///path`, by convention `root/registry.sqlite`, or `postgresql://...`.
        clock: stamps versions and events.
        read_only: open for reading, as the model server does: nothing is created or recovered, changes raise
            ConfigurationError, and a registry that is not there yet reads as empty until a writer makes it.
        inspect: looks at each candidate before it is stored; None accepts all.

    Raises:
        ConfigurationError: the URL cannot be used, or the folder belongs to another database.
    """

    def __init__(
        self,
        root: Path,
        database_url: str,
        clock: Clock,
        *,
        read_only: bool = False,
        inspect: Inspect | None = None,
    ) -> None:
        database = RegistryDatabase(database_url, read_only=read_only)
        super().__init__(ModelFolders(root), database, clock, read_only=read_only, inspect=inspect)

    def _shown(self, name: str, rows: VersionRows) -> list[ModelVersion]:
        # The link tells of nothing else, and a model may have thousands of versions.
        production = rows.in_stage(name, "production")
        return [] if production is None else [production]
