"""Which tracker the settings mean; the only place that chooses one."""

from __future__ import annotations

from ratchet.clock import Clock
from ratchet.settings import Settings
from ratchet.tracking.mlflow import MlflowTracker


def open_tracker(settings: Settings, clock: Clock) -> MlflowTracker:
    """Return the tracker on the settings' store, with artifacts below the home folder."""
    return MlflowTracker(settings.tracking_store_url, settings.root / "mlflow" / "artifacts", clock)
