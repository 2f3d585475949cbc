"""After a change of production: does the server answer with it, and the way back."""

from __future__ import annotations

from ratchet.errors import NotFoundError, RatchetError, TransientError
from ratchet.registry import ModelRegistry, ModelVersion
from ratchet.registry.golden import Golden
from ratchet.rollout.canary import disagreement
from ratchet.rollout.served import ServedModels

TOLERANCE = 1e-4
"""Largest accepted difference between p_up as served and as registered."""


def health_check_after_deployment(
    served: ServedModels, version: ModelVersion, golden: Golden, *, tolerance: float = TOLERANCE
) -> str | None:
    """Ask the server, through its production door, whether a version answers and answers rightly.

    Args:
        served: the model server.
        version: the version that should be in production.
        golden: windows and the answers that the version gave when it was registered.
        tolerance: largest accepted difference of p_up.

    Returns:
        What is wrong, None if nothing is.
    """
    try:
        live = served.production_version(version.name)
        if live != version.version:
            return f"the server has {live or 'no version'} in production instead of {version.version}"
        return disagreement(served, version, golden, "production", tolerance)
    except RatchetError as error:
        return str(error)


def rollback_to_previous(
    registry: ModelRegistry,
    served: ServedModels,
    name: str,
    *,
    actor: str,
    reason: str,
    expected_epoch: int | None = None,
) -> ModelVersion | None:
    """Put the earlier production version back and tell the server; with no earlier one, take production empty.

    The registry decides: a server that cannot be reached follows as soon as it looks.

    Returns:
        The version in production now, None if there is none: the server then answers that it has no model.

    Raises:
        RegistryConflictError: the model moved on since `expected_epoch`, or nothing is in production.
        ArtifactError: the files of the earlier version are missing or altered.
    """
    restored = _restore(registry, name, actor=actor, reason=reason, expected_epoch=expected_epoch)
    try:
        served.reload()
    except TransientError:
        return restored
    return restored


def _restore(
    registry: ModelRegistry, name: str, *, actor: str, reason: str, expected_epoch: int | None
) -> ModelVersion | None:
    try:
        registry.get_model(name, "previous")
    except NotFoundError:
        live = registry.get_model(name, "production")
        registry.withdraw_model(name, live.version, actor=actor, reason=reason, expected_epoch=expected_epoch)
        return None
    return registry.rollback_to_previous(name, actor=actor, reason=reason, expected_epoch=expected_epoch)
