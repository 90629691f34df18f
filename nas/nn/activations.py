"""Activations of torch maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from search_spaces.graphs import smooth
from search_spaces.graphs.activations import LEAKS, Activation

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class TorchActivation:
    """What an activation does to maps.

    Attributes:
        of: For training.
        of_owned: The same of a map that nothing else reads: its memory is reused where the
            gradient does not need the map before the activation.
        as_kernel: The same as a kernel computes it, without gradient, of a map that nothing else
            reads. Torch divides by 6 where kernels multiply, and has exponentials of its own: the
            last digit differs, and with it a code.
    """

    of: Layer
    of_owned: Layer
    as_kernel: Layer


class TorchArithmetic:
    """``smooth.Arithmetic`` of float32 tensors; constants are Python's numbers."""

    def number(self, value: float) -> float:
        return float(np.float32(value))

    def rounded(self, x: Tensor) -> Tensor:
        return x

    def larger(self, least: float, x: Tensor) -> Tensor:
        return x.clamp(min=least)

    def smaller(self, most: float, x: Tensor) -> Tensor:
        return x.clamp(max=most)

    def magnitude(self, x: Tensor) -> Tensor:
        return x.abs()

    def by_sign(self, x: Tensor, positive: Tensor | float, negative: Tensor) -> Tensor:
        return torch.where(x >= 0, positive, negative)

    def power_of_two(self, x: Tensor) -> Tensor:
        return (x.view(torch.int32) << 23).view(torch.float32)


def gate(x: Tensor) -> Tensor:
    return (x * (1 / 6) + 0.5).clamp_(0, 1)


def same(x: Tensor) -> Tensor:
    return x


def curved(of: Layer, steps: smooth.Steps, of_owned: Layer | None = None) -> TorchActivation:
    """Returns a smooth activation, whose gradient needs the map before it if nothing is said."""
    return TorchActivation(of, of_owned or of, lambda x: steps(TorchArithmetic(), x))


def leak(slope: float) -> TorchActivation:
    def of(x: Tensor, inplace: bool = False) -> Tensor:
        return functional.leaky_relu(x, slope, inplace)

    def of_owned(x: Tensor) -> Tensor:
        return of(x, inplace=True)

    return TorchActivation(of, of_owned, of_owned)


TORCH_ACTIVATIONS: Mapping[Activation, TorchActivation] = {
    "none": TorchActivation(same, same, same),
    "relu": TorchActivation(
        functional.relu, lambda x: functional.relu(x, inplace=True), lambda x: x.clamp_(min=0)
    ),
    "relu6": TorchActivation(functional.relu6, functional.relu6, lambda x: x.clamp_(0, 6)),
    "hardswish": TorchActivation(
        functional.hardswish, functional.hardswish, lambda x: x * gate(x)
    ),
    "hardsigmoid": TorchActivation(functional.hardsigmoid, functional.hardsigmoid, gate),
    "sigmoid": curved(torch.sigmoid, smooth.sigmoid, torch.Tensor.sigmoid_),
    "silu": curved(functional.silu, smooth.silu),
    "gelu": curved(functional.gelu, smooth.gelu),
    "gelu_tanh": curved(lambda x: functional.gelu(x, approximate="tanh"), smooth.gelu_tanh),
    **{name: leak(slope) for name, slope in LEAKS.items()},
}
