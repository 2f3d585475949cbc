"""Show a version and its stage in MLflow's model registry, which decides nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.errors import RatchetError
from ratchet.registry import ModelVersion, open_registry
from ratchet.registry.catalog import open_catalog
from ratchet.settings import load_settings
from tasks.narration import narrate


@task(name="catalog", cache_policy=NO_CACHE)
def show_in_catalog(version: ModelVersion) -> bool:
    """Bring MLflow in line with the registry and return whether that worked.

    An outage stops nothing: `ratchet registry reconcile`, or the next retraining, makes up for it.
    """
    settings, clock = load_settings(), SystemClock()
    with narrate("catalog") as narration, open_registry(settings, clock) as registry:
        try:
            catalog = open_catalog(settings, clock)
            number = catalog.register_model_to_mlflow(registry, version)
            catalog.show(registry, version.name)
        except RatchetError as error:
            narration.conclude(f"MLflow's registry was not brought up to date: {error}")
            return False
        narration.conclude(f"{version.name} {version.version} is version {number} in MLflow")
    return True
