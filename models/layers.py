"""What every network shares: input standardisation inside the graph, and what training asks of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_STD = 1e-8


class Standardize(nn.Module):
    """Subtract the mean, divide by the standard deviation, clip; the figures come from training rows only."""

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int, clip_sigma: float) -> None:
        super().__init__()
        self.clip_sigma = clip_sigma
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def fit(self, rows: Tensor) -> None:
        """Take mean and deviation of `rows` (row, feature); a feature that never varies is switched off."""
        exact = rows.double()
        std = exact.std(dim=0, correction=0)
        self.mean.copy_(exact.mean(dim=0))
        self.scale.copy_(torch.where(std > SMALLEST_STD, 1.0 / std, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (..., feature) in training standard deviations, within plus or minus `clip_sigma`."""
        return ((x - self.mean) * self.scale).clamp(-self.clip_sigma, self.clip_sigma)


class DirectionNetwork(nn.Module):
    """A network that maps windows of raw features to one logit each; `sigmoid(logit)` is P(up | the move is not flat).

    A subclass implements `forward(windows)`: raw, finite float32 (batch, time, feature), oldest bar first, to logits
    (batch,). It starts with `standardize` and divides the logits by `temperature`, which stays 1 during training.
    """

    temperature: Tensor

    def __init__(self, n_features: int, clip_sigma: float) -> None:
        super().__init__()
        self.standardize = Standardize(n_features, clip_sigma)
        self.register_buffer("temperature", torch.ones(1))

    def calibrate(self, temperature: float) -> None:
        """Set by how much logits are divided."""
        self.temperature.fill_(temperature)
