"""Optimizer: what changes the weights, and how fast at each step."""

from math import cos, pi

import torch
from torch import nn

from nas.training_config import TrainingConfig


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Returns the optimizer of the configuration; norms and biases are not decayed."""
    parameters = list(module.parameters())
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.dim() > 1],
            "weight_decay": config.weight_decay,
        },
        {
            "params": [parameter for parameter in parameters if parameter.dim() <= 1],
            "weight_decay": 0.0,
        },
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=True,
    )


def learning_rate(step: int, steps_per_epoch: int, config: TrainingConfig) -> float:
    """Returns the learning rate of a step (counted from 0 over all epochs).

    It rises in a line over the warm-up, then falls to zero as half a cosine.

    >>> config = TrainingConfig(epochs=3, learning_rate=1.0, warmup_epochs=1)
    >>> [round(learning_rate(step, 4, config), 2) for step in (0, 3, 4, 8, 11)]
    [0.25, 1.0, 1.0, 0.5, 0.04]
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if not config.cosine:
        return config.learning_rate
    rest = config.epochs * steps_per_epoch - warmup
    return config.learning_rate * (1 + cos(pi * (step - warmup) / rest)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
