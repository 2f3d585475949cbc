"""Which tracker the settings mean; the only place that chooses one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ratchet.clock import Clock
from ratchet.settings import Settings
from ratchet.tracking.lineage import code_tags, environment_tags
from ratchet.tracking.mlflow import MlflowTracker
from ratchet.tracking.spooled import SpooledTracker


def open_tracker(settings: Settings, clock: Clock, default_tags: Mapping[str, str] | None = None) -> SpooledTracker:
    """Return the tracker on the settings' store, with its spool and artifacts below the home folder.

    Args:
        settings: name the store and the home folder.
        clock: stamps what is logged.
        default_tags: of every run that starts here; by default the commit of the working folder and the environment.
    """
    if default_tags is None:
        default_tags = {**code_tags(Path.cwd()), **environment_tags()}
    inner = MlflowTracker(settings.tracking_store_url, settings.root / "mlflow" / "artifacts", clock)
    return SpooledTracker(inner, settings.root / "tracking", clock, default_tags=default_tags)
