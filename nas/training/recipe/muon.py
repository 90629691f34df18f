"""Muon: weights of convolutions and linear layers moved as matrices, in all directions alike.

*Source:* Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/: Nesterov momentum, the update made orthogonal by five
Newton-Schulz steps, its size that of the shape; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
Single GPU", 2024, https://arxiv.org/abs/2404.00498, of convolutions as matrices.

*Differs from the source:* a grouped convolution is a matrix for each group, so that a depthwise
one is a row for each channel; equal shapes are updated at once; all is in float32.

Shape letters: G matrices, M rows, N columns.
"""

from collections.abc import Callable, Iterable, Sequence
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LEAST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Each group of parameters says as ``matrices`` how many one parameter holds, G.

    A parameter's first axis is cut into G parts; each part is a matrix whose rows are that axis
    and whose columns are all others.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self.move(parameters, group)

    def move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Moves parameters of one shape."""
        rate, momentum, count = group["lr"], group["momentum"], group["matrices"]
        wanted = [self.direction(parameter, momentum) for parameter in parameters]
        shape = parameters[0].shape
        rows = shape[0] // count
        stacked = torch.cat([each.reshape(count, rows, -1) for each in wanted])
        moves = torch.split(orthogonal(stacked), count)
        size = rate * sqrt(max(1.0, rows / stacked.shape[2]))
        for parameter, move in zip(parameters, moves, strict=True):
            parameter.mul_(1 - rate * group["weight_decay"])
            parameter.sub_(move.reshape(shape), alpha=size)

    def direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Returns the gradient with Nesterov momentum."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)


def orthogonal_macs(shape: Sequence[int], count: int) -> int:
    """Returns the multiply-accumulates that a parameter of ``count`` matrices takes in a step.

    >>> orthogonal_macs((8, 4, 1, 1), 1)  # five times 4 x 8 x 4, 4 x 4 x 4 and 4 x 4 x 8
    1600
    """
    rows = shape[0] // count
    columns = prod(shape[1:])
    small, large = min(rows, columns), max(rows, columns)
    return count * STEPS * (2 * small**2 * large + small**3)


def orthogonal(matrices: Tensor) -> Tensor:
    """Returns about the nearest matrices with singular values of one, ``(G, M, N)``.

    They come out between 0.7 and 1.2; those of a matrix of zeros stay zero.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + LEAST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + torch.baddbmm(b * square, square, square, alpha=c) @ x
    return x.mT if tall else x
