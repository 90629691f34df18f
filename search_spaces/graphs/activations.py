"""Activations: what each one computes, and what quantizers, kernels and costs may take from that.

Each back end holds a table from activation to its code, and a test holds all of them against this
one. Smooth activations are written down once, in ``smooth``, as steps that each back end takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs import smooth

Array = NDArray[np.float32]
Activation = Literal[
    "none",
    "relu",
    "relu6",
    "hardswish",
    "hardsigmoid",
    "sigmoid",
    "silu",
    "gelu",
    "gelu_tanh",
    "leaky_relu",
    "leaky_relu_0.1",
    "leaky_relu_0.2",
    "leaky_relu_0.3",
]
F = np.float32
INFINITY = float("inf")
LEAKS: Mapping[Activation, float] = {  # what negative numbers are multiplied by
    "leaky_relu": 0.01,
    "leaky_relu_0.1": 0.1,
    "leaky_relu_0.2": 0.2,
    "leaky_relu_0.3": 0.3,
}


@dataclass(frozen=True, slots=True)
class ActivationFunction:
    """An activation.

    Attributes:
        compute: What it makes of float32 numbers: each operation rounds by itself, as in kernels.
        nonnegative: Whether it gives no negative numbers.
        monotone: Whether what it gives never falls while its numbers grow, to the last digit.
        limits: The least and the largest number it gives, if it only limits; None if it is curved.
        duration: Of a curved one, about how many times as long as hardswish it takes.
    """

    compute: Callable[[Array], Array]
    nonnegative: bool
    monotone: bool
    limits: tuple[float, float] | None = None
    duration: float = 1.0

    @property
    def curved(self) -> bool:
        """Whether it does more than limit numbers, and so takes more operations."""
        return self.limits is None


def limit(low: float, high: float) -> ActivationFunction:
    """Returns what only limits numbers."""
    return ActivationFunction(
        lambda x: np.clip(x, F(low), F(high)), low >= 0, monotone=True, limits=(low, high)
    )


def gate(x: Array) -> Array:
    return np.clip(x * F(1 / 6) + F(0.5), F(0), F(1))


def leak(slope: float) -> ActivationFunction:
    """Returns what multiplies negative numbers by a slope below 1."""
    return ActivationFunction(
        lambda x: np.maximum(x * F(slope), x), nonnegative=False, monotone=True
    )


class NumpyArithmetic:
    """``smooth.Arithmetic`` of numpy's float32 arrays."""

    def number(self, value: float) -> np.float32:
        return F(value)

    def rounded(self, x: Array) -> Array:
        return x

    def larger(self, least: np.float32, x: Array) -> Array:
        return np.maximum(least, x)

    def smaller(self, most: np.float32, x: Array) -> Array:
        return np.minimum(most, x)

    def magnitude(self, x: Array) -> Array:
        return np.abs(x)

    def by_sign(self, x: Array, positive: Array, negative: Array) -> Array:
        return np.where(x >= 0, positive, negative)

    def power_of_two(self, x: Array) -> Array:
        return (x.view(np.uint32) << np.uint32(23)).view(F)


def computed(steps: smooth.Steps) -> Callable[[Array], Array]:
    """Returns what smooth steps make of numpy arrays."""

    def compute(x: Array) -> Array:
        # A quotient by infinity is the zero that it should be; what is not selected, anything.
        with np.errstate(over="ignore", invalid="ignore"):
            result: Array = steps(NumpyArithmetic(), x)
        return result

    return compute


ACTIVATIONS: Mapping[Activation, ActivationFunction] = {
    "none": limit(-INFINITY, INFINITY),
    "relu": limit(0, INFINITY),
    "relu6": limit(0, 6),
    "hardswish": ActivationFunction(lambda x: x * gate(x), nonnegative=False, monotone=False),
    "hardsigmoid": ActivationFunction(gate, nonnegative=True, monotone=True),
    # Its last digit may fall while numbers grow, so that no threshold stands for it.
    "sigmoid": ActivationFunction(
        computed(smooth.sigmoid), nonnegative=True, monotone=False, duration=4
    ),
    "silu": ActivationFunction(
        computed(smooth.silu), nonnegative=False, monotone=False, duration=5
    ),
    "gelu": ActivationFunction(
        computed(smooth.gelu), nonnegative=False, monotone=False, duration=5
    ),
    "gelu_tanh": ActivationFunction(
        computed(smooth.gelu_tanh), nonnegative=False, monotone=False, duration=6
    ),
    **{name: leak(slope) for name, slope in LEAKS.items()},
}


def known_activation(name: str) -> None:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
