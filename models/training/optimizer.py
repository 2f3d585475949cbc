"""How weights move: AdamW, a one-cycle learning rate, and a moving average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from models.training.recipes import TrainRecipe


def adamw(network: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Return an optimizer that decays matrices and leaves vectors alone; its rate is set anew at every step."""
    parameters = list(network.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0)


def learning_rate(recipe: TrainRecipe, step: int, n_steps: int) -> float:
    """Rise linearly to the peak, then fall along a cosine to zero (after Smith, Topin, arXiv:1708.07120)."""
    n_warmup = recipe.warmup_share * n_steps
    if step < n_warmup:
        return recipe.learning_rate * (step + 1) / (n_warmup + 1)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))


def average_weights(averaged: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the current ones, faster in the first steps (Polyak, Juditsky, 1992)."""
    pull = 1.0 - min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), pull)
