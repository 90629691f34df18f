"""Optimizer: what changes the weights, and how fast at each step.

Source: learning rates that fall with the fan-in are those of Yang et al., "Tensor Programs V",
NeurIPS 2021, https://arxiv.org/abs/2203.03466, table 3.
Differs from the paper: weights before a batch norm keep the full rate, whose scale the norm
removes.
"""

from math import cos, pi
from typing import Any

import torch

from nas.interpreter import Interpreter
from nas.training_config import TrainingConfig
from search_spaces.operators import Conv2d

FULL_RATE_FAN_IN = 32


def make_optimizer(module: Interpreter, config: TrainingConfig) -> torch.optim.Optimizer:
    """Returns the optimizer of the configuration; norms and biases are not decayed.

    AdamW moves every weight by about the learning rate, however small the weight. Published
    networks without norms (AlexNet, VGG, SqueezeNet) die of the rate that others learn best at,
    so there it is lowered in proportion to the fan-in.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        share = rate_share(module, name) if config.optimizer == "adamw" else 1.0
        group = groups.setdefault(
            (decay, share), {"params": [], "weight_decay": decay, "rate_share": share}
        )
        group["params"].append(parameter)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups.values(), lr=config.learning_rate, fused=True)
    return torch.optim.SGD(
        groups.values(),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=True,
    )


def rate_share(module: Interpreter, name: str) -> float:
    """Returns the share of the learning rate that an array learns at."""
    shape = module.get_parameter(name).shape
    if len(shape) == 1:
        return 1.0
    operator = module.graph.node(name.removesuffix(".weight")).operator
    if isinstance(operator, Conv2d) and operator.norm == "batch":
        return 1.0
    return min(1.0, FULL_RATE_FAN_IN / shape[1:].numel())


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
        group["lr"] = rate * group["rate_share"]
