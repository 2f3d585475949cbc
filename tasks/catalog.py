"""Show a version and its stage in MLflow's model registry, which decides nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from ratchet.clock import SystemClock
from ratchet.errors import RatchetError
from ratchet.registry import open_registry
from ratchet.registry.catalog import open_catalog
from ratchet.registry.reconcile import reconcile
from ratchet.settings import load_settings
from tasks.narration import narrate

DRIFT_EVENT = "ratchet.registry.drift"
"""Emitted where the registry and MLflow differ in a way that cannot be mended."""


@task(name="catalog", cache_policy=NO_CACHE)
def show_in_catalog() -> bool:
    """Bring MLflow in line with the registry, and return whether both agree; an alarm is an event.

    An outage stops nothing: `ratchet registry reconcile`, or the next retraining, makes up for it.
    """
    settings, clock = load_settings(), SystemClock()
    with narrate("catalog") as narration, open_registry(settings, clock, read_only=True) as registry:
        try:
            report = reconcile(registry, open_catalog(settings, clock), mend=True)
        except RatchetError as error:
            narration.conclude(f"MLflow's registry was not brought up to date: {error}")
            return False
        left = [drift for drift in report.drifts if not drift.is_mended]
        n_mended = len(report.drifts) - len(left)
        narration.conclude(f"{report.checked} versions in MLflow, {n_mended} brought up to date, {len(left)} differ")
    for drift in left:
        emit_event(
            DRIFT_EVENT,
            resource={"prefect.resource.id": f"ratchet.model.{drift.name}"},
            payload={"kind": drift.kind, "version": drift.version, "expected": drift.expected, "found": drift.found},
        )
    return not left
