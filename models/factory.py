"""Networks by name, built from plain numbers, so that a stored description can rebuild them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from torch import nn

from models.hybrid_cnn_lstm import HybridCNNLSTM, HybridCNNLSTMConfig
from models.layers import DirectionNetwork
from ratchet.errors import ConfigurationError


def create_model(name: str, **config: Any) -> DirectionNetwork:
    """Build a network with fresh weights, drawn from torch's generator.

    Args:
        name: one of `NETWORKS`.
        config: the fields of the network's configuration; `n_features` and `window` have no default.

    Raises:
        ConfigurationError: no such network, or a field that it does not have or cannot use.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"no network {name!r}; there are: {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[name](**config)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"network {name!r} cannot be built from {config}: {error}") from error


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Return `{"network": name, "config": fields}`, JSON-ready, from which `create_model` builds the same network.

    Raises:
        ConfigurationError: the module is not one of `NETWORKS`.
    """
    if isinstance(model, HybridCNNLSTM):
        return {"network": "hybrid_cnn_lstm", "config": asdict(model.config)}
    raise ConfigurationError(f"{type(model).__name__} is none of the networks {', '.join(sorted(NETWORKS))}")


def _hybrid_cnn_lstm(**config: Any) -> DirectionNetwork:
    return HybridCNNLSTM(HybridCNNLSTMConfig(**config))


NETWORKS: dict[str, Callable[..., DirectionNetwork]] = {"hybrid_cnn_lstm": _hybrid_cnn_lstm}
"""Every network that a recipe can name."""
