"""The registry whose files are kept in MLflow: the truth is one database, MLflow holds bytes and shows stages."""

from __future__ import annotations

from pathlib import Path

from ratchet.clock import Clock
from ratchet.registry.database import RegistryDatabase
from ratchet.registry.mlflow_files import MlflowFiles
from ratchet.registry.transactional import Inspect, TransactionalRegistry


class MlflowRegistry(TransactionalRegistry):
    """A `ModelRegistry` over an MLflow store; the port's docstrings say what each method promises.

    What is registered and live is decided by `database_url` alone. Someone who moves an alias or a tag in MLflow
    changes what MLflow shows, not what is in production; the next change of the model, or `recover`, puts it right.

    Args:
        tracking_uri: `sqlite:///path`, another database, or an MLflow server, which then keeps the files.
        artifact_root: folder for the files of a store without a server, and for this machine's locks.
        database_url: `sqlite:///path` or `postgresql://...`; not a file or schema of MLflow's.
        clock: stamps versions and events.
        read_only: open for reading: nothing is created or recovered, and changes raise ConfigurationError.
        inspect: looks at the files and metadata of every candidate before anything is stored.

    Raises:
        ConfigurationError: the URL cannot be used, MLflow is not installed, or its store belongs to another database.
        UnavailableError: MLflow cannot be reached.
    """

    def __init__(
        self,
        tracking_uri: str,
        artifact_root: Path,
        database_url: str,
        clock: Clock,
        *,
        read_only: bool = False,
        inspect: Inspect | None = None,
    ) -> None:
        super().__init__(
            MlflowFiles(tracking_uri, artifact_root, clock),
            RegistryDatabase(database_url, read_only=read_only),
            clock,
            read_only=read_only,
            inspect=inspect,
        )
