"""The training loss, and the calibration of probabilities after it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_MIN_TEMPERATURE = 0.05
_MAX_TEMPERATURE = 20.0
_HALVINGS = 40
_PRIOR_WEIGHT = 10.0


def direction_loss(
    logits: Tensor, is_up: Tensor, *, smoothing: float = 0.0, focal_gamma: float = 0.0, up_weight: float = 1.0
) -> Tensor:
    """Return the mean binary cross-entropy of `logits` against `is_up` (0 or 1), both (batch,).

    Args:
        smoothing: moves the targets this far towards one half (Szegedy et al., arXiv:1512.00567).
        focal_gamma: weighs each sample with (1 - probability of the truth)**gamma (Lin et al., arXiv:1708.02002).
        up_weight: weight of an up relative to a down.
    """
    target = is_up * (1.0 - smoothing) + 0.5 * smoothing
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")  # (batch,)
    weight = 1.0 + (up_weight - 1.0) * is_up
    if focal_gamma > 0.0:
        p_truth = torch.sigmoid(torch.where(is_up > 0.5, logits, -logits))
        weight = weight * (1.0 - p_truth) ** focal_gamma
    return (weight * loss).mean()


def fit_temperature(logits: Tensor, is_up: Tensor) -> float:
    """Return the temperature T, between 0.05 and 20, that minimises the cross-entropy of `logits / T`.

    It never changes a direction, only how sure the model says it is (Guo et al., arXiv:1706.04599). A quadratic prior
    around T = 1, worth about a hundred samples, keeps a short validation part from deciding too much. The sum is convex
    in 1/T: its slope changes sign once, which bisection finds.
    """
    z, y = logits.double(), is_up.double()
    low, high = 1.0 / _MAX_TEMPERATURE, 1.0 / _MIN_TEMPERATURE  # of 1/T
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        slope = ((torch.sigmoid(middle * z) - y) * z).sum() + _PRIOR_WEIGHT * (middle - 1.0)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 2.0 / (low + high)
