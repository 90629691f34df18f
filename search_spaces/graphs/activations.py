"""Activations: what each one computes, and what quantizers, kernels and costs may take from that.

Each back end holds a table from activation to its code, and a test holds all of them against this
one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Activation = Literal["none", "relu", "relu6", "hardswish", "hardsigmoid"]
F = np.float32
INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class ActivationFunction:
    """An activation.

    Attributes:
        compute: What it makes of float32 numbers: each operation rounds by itself, as in kernels.
        nonnegative: Whether it gives no negative numbers.
        monotone: Whether what it gives never falls while its numbers grow.
        limits: The least and the largest number it gives, if it only limits; None if it is curved.
    """

    compute: Callable[[Array], Array]
    nonnegative: bool
    monotone: bool
    limits: tuple[float, float] | None = None

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


ACTIVATIONS: Mapping[Activation, ActivationFunction] = {
    "none": limit(-INFINITY, INFINITY),
    "relu": limit(0, INFINITY),
    "relu6": limit(0, 6),
    "hardswish": ActivationFunction(lambda x: x * gate(x), nonnegative=False, monotone=False),
    "hardsigmoid": ActivationFunction(gate, nonnegative=True, monotone=True),
}


def known_activation(name: str) -> None:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
