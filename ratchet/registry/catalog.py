"""Which MLflow store shows the registry's versions; the only place that chooses one."""

from __future__ import annotations

from ratchet.clock import Clock
from ratchet.registry.mlflow_stages import MlflowCatalog
from ratchet.settings import Settings


def open_catalog(settings: Settings, clock: Clock) -> MlflowCatalog:
    """Return the catalog in the MLflow store that the runs are tracked in."""
    return MlflowCatalog(settings.tracking_store_url, settings.root / "mlflow" / "artifacts", clock)
