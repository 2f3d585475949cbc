"""What Prefect still holds in its background workers when a flow has ended."""

from __future__ import annotations

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

_WITHIN_S = 10.0


def deliver_pending() -> None:
    """Send pending logs and events while the server still runs; after it has stopped they would be retried in vain."""
    APILogWorker.drain_all(timeout=_WITHIN_S)
    EventsWorker.drain_all(timeout=_WITHIN_S)
