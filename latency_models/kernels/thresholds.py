"""Thresholds: from which sum on a result has a bit, so that the bit is one comparison of the sum.

What an epilogue does to a sum, step by step and each step rounded, never changes direction, except
for some activations: so a bit changes at one sum. That sum is searched for with the very steps it
replaces, among all float32 numbers; hence the bits are the same.

*Source:* Umuroglu et al., "FINN", FPGA 2017, https://arxiv.org/abs/1612.07119, section 4.2.2.

*Differs from the paper:* thresholds are searched for and not computed, so that they follow the
rounding of every step; a channel's codes may fall as its sums grow.

Letters: O channels.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from search_spaces.operators import Activation

Array = NDArray[np.float32]
Truths = NDArray[np.bool_]
MONOTONE: tuple[Activation, ...] = ("none", "relu", "relu6", "hardsigmoid")
LARGEST = 0x7F7FFFFF  # the largest float32 number, as an integer
SMALLEST = np.float32(2.0**-100)
F = np.float32


def thresholds(reached: Callable[[Array], Truths], falling: Truths) -> Array:
    """Returns for each channel the number from which on ``reached`` holds.

    Args:
        reached: Tells for one number of each channel, (O,), whether it holds.
        falling: (O,) channels for which it holds below some number and not above: numbers are
            negated for them, and the threshold is that of the negated numbers.
    """
    sign = np.where(falling, F(-1), F(1))
    low = np.full(len(falling), -LARGEST - 1, np.int64)  # does not hold
    high = np.full(len(falling), LARGEST + 1, np.int64)  # holds
    while (open_still := high - low > 1).any():
        middle = (low + high) // 2
        with np.errstate(over="ignore", invalid="ignore"):
            holds = reached(sign * in_order(np.clip(middle, -LARGEST, LARGEST)))
        low = np.where(open_still & ~holds, middle, low)
        high = np.where(open_still & holds, middle, high)
    found = in_order(np.minimum(high, LARGEST))
    return np.where(high > LARGEST, F(np.inf), found).astype(np.float32)


def off_zero(found: Array) -> Array:
    """Returns thresholds for sums, of which none but zero is nearer to zero than ``SMALLEST``.

    Half of such a threshold is exact, and is a number that no processor takes for zero.
    """
    tiny = (found != 0) & (np.abs(found) < SMALLEST)
    return np.where(tiny, np.copysign(SMALLEST, found), found).astype(np.float32)


def in_order(index: NDArray[np.int64]) -> Array:
    """Returns the float32 numbers of these places, counted from zero in order of size."""
    bits = np.abs(index).astype(np.uint32) | np.where(index < 0, np.uint32(1 << 31), np.uint32(0))
    return bits.astype(np.uint32).view(np.float32)


def activated(activation: Activation, x: Array) -> Array:
    """Returns what a monotone activation makes of float32 numbers, as kernels compute it."""
    if activation == "hardsigmoid":
        return np.clip(x * F(1 / 6) + F(0.5), F(0), F(1))
    assert activation in MONOTONE, activation
    lowest = F(-np.inf) if activation == "none" else F(0)
    return np.clip(x, lowest, F(6) if activation == "relu6" else F(np.inf))
