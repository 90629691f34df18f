"""Activations of torch maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from search_spaces.graphs.activations import Activation

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class TorchActivation:
    """What an activation does to maps.

    Attributes:
        of: For training.
        of_owned: The same of a map that nothing else reads: its memory is reused where the
            gradient does not need the map before the activation.
        as_kernel: The same as a kernel computes it, without gradient, of a map that nothing else
            reads. Torch divides by 6 where kernels multiply: the last digit differs, and with it
            a code.
    """

    of: Layer
    of_owned: Layer
    as_kernel: Layer


def gate(x: Tensor) -> Tensor:
    return (x * (1 / 6) + 0.5).clamp_(0, 1)


def same(x: Tensor) -> Tensor:
    return x


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
}
