"""Keep what live models read current: new candles, the windows of features computed from them, and the skew audit.

Started by its schedule, from the Prefect UI, or by hand. Trains nothing and changes no stage. A model whose windows
cannot be refreshed fails the run and leaves the others alone; its stored windows grow stale, and bots are told so.
"""

from __future__ import annotations

from typing import Any

from prefect import State, flow

from tasks.history import update_history
from tasks.refresh import audit_features, collection_for, list_live_models, refresh_windows


@flow(name="features")
def features(model: str | None = None) -> list[State[Any]]:
    """Refresh the windows of one model, or of all that are in production or staging, and audit what was answered."""
    states: list[State[Any]] = []
    for version in list_live_models(model):
        collected = update_history(collection_for(version), return_state=True)
        states += [collected, refresh_windows(version, wait_for=[collected], return_state=True)]
        if version.stage == "production":
            states.append(audit_features(version, wait_for=[collected], return_state=True))
    return states
