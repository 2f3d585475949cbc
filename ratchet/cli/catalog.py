"""After a change of the registry by hand: MLflow is brought in line, and said so where it is not."""

from __future__ import annotations

from rich.console import Console

from ratchet.clock import SystemClock
from ratchet.errors import RatchetError
from ratchet.registry import ModelRegistry
from ratchet.settings import load_settings

_ERR = Console(stderr=True, highlight=False)


def show_in_mlflow(registry: ModelRegistry, name: str) -> None:
    """Show a model's stages and pointers in MLflow's registry; an MLflow that is away stops nothing."""
    from ratchet.registry.catalog import open_catalog  # noqa: PLC0415 - heavy

    try:
        open_catalog(load_settings(), SystemClock()).show(registry, name)
    except RatchetError as error:
        text = f"MLflow shows the change after `ratchet registry reconcile`: {error}"
        _ERR.print(f"[yellow]![/yellow] {text}", soft_wrap=True)
