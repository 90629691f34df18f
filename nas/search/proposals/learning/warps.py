"""Warps: scales on which genes add up, and what is believed there as losses.

A latency is a sum of kernels, so genes often add up in the cost itself rather than in its
logarithm; losses near the best differ by less than those far from it. A warp turns losses into
numbers that a regression can take for normal ones, and back. The one that is taken is what makes
the losses likeliest, the slopes of the warp counted in.

Source: Snelson, Rasmussen, Ghahramani, "Warped Gaussian Processes", NIPS 2003,
https://papers.nips.cc/paper/2481-warped-gaussian-processes. Box and Cox, "An Analysis of
Transformations", JRSS B 1964 (powers). Differs from the papers: few warps are compared, none is
fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
EDGES = (1.0, 3.0, 30.0)  # beyond the best, of what the median is behind it
POWERS = (1.0, 0.5)  # of costs, beside the logarithm
INSIDE = 0.1  # of the distance to the edge, that no loss is taken to be nearer
SMALLEST = 0.5  # of the smallest number seen, that no cost is expected below
TINY = 1e-12


class Warp(Protocol):
    """A scale of its own for losses."""

    def forward(self, losses: Array) -> Array:
        """Returns losses on this scale."""
        ...

    def backward(self, warped: Array) -> Array:
        """Returns the losses that numbers of this scale stand for."""
        ...

    def log_slopes(self, losses: Array) -> Array:
        """Returns the logarithm of how much the scale grows with losses."""
        ...

    def below(self, levels: Array, mean: Array, deviation: Array) -> Array:
        """Returns how far losses are expected to be below levels, (losses, levels).

        Args:
            mean, deviation: Of what is believed of the losses, on this scale.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unwarped:
    """Losses as they are."""

    def forward(self, losses: Array) -> Array:
        return losses

    def backward(self, warped: Array) -> Array:
        return warped

    def log_slopes(self, losses: Array) -> Array:
        return np.zeros_like(losses)

    def below(self, levels: Array, mean: Array, deviation: Array) -> Array:
        return below(levels, mean, deviation)


@dataclass(frozen=True, slots=True)
class LogAbove:
    """Losses by the logarithm of what they are above an edge that none reaches.

    Attributes:
        edge: That loss.
        nearest: The smallest distance to it that is told apart.
    """

    edge: float
    nearest: float = TINY

    def forward(self, losses: Array) -> Array:
        return np.log(np.maximum(losses - self.edge, self.nearest))

    def backward(self, warped: Array) -> Array:
        return self.edge + np.exp(warped)

    def log_slopes(self, losses: Array) -> Array:
        return -self.forward(losses)

    def below(self, levels: Array, mean: Array, deviation: Array) -> Array:
        """Exact: of a log-normal distance, as the price of a put (Black and Scholes, 1973)."""
        spread = np.maximum(deviation, TINY)[:, None]
        reach = np.maximum(levels - self.edge, TINY)[None, :]
        z = (np.log(reach) - mean[:, None]) / spread
        expected = np.exp(np.minimum(mean[:, None] + spread**2 / 2, 700))
        return np.maximum(reach * ndtr(z) - expected * ndtr(z - spread), 0)


@dataclass(frozen=True, slots=True)
class PowerOfCost:
    """Logarithms of costs as powers of the cost, 1 being the cost itself.

    Attributes:
        centre: Logarithm of the cost that is 1 on this scale.
        lowest: Number of this scale below which none is expected.
    """

    power: float
    centre: float
    lowest: float

    def forward(self, losses: Array) -> Array:
        return np.exp(self.power * (losses - self.centre))

    def backward(self, warped: Array) -> Array:
        return self.centre + np.log(np.maximum(warped, self.lowest)) / self.power

    def log_slopes(self, losses: Array) -> Array:
        return np.log(self.power) + self.power * (losses - self.centre)

    def below(self, levels: Array, mean: Array, deviation: Array) -> Array:
        """To second order: the logarithm of what is believed is taken for normal."""
        spread = deviation / (self.power * np.maximum(mean, self.lowest))
        return below(levels, self.backward(mean) - self.power * spread**2 / 2, spread)


def below(levels: Array, mean: Array, deviation: Array) -> Array:
    """Returns how far a normal value is expected to be below levels, (values, levels)."""
    gap = levels[None, :] - mean[:, None]
    spread = np.maximum(deviation, TINY)[:, None]
    z = gap / spread
    density = np.exp(-0.5 * np.minimum(z**2, 1400)) / np.sqrt(2 * np.pi)
    return gap * ndtr(z) + spread * density


def warps_of_costs(losses: Array) -> Sequence[Warp]:
    """Returns what logarithms of costs are tried as; the likeliest of most spaces comes first."""
    centre = float(np.median(losses))
    smallest = float(losses.min() - centre)
    powers = [PowerOfCost(p, centre, SMALLEST * float(np.exp(p * smallest))) for p in POWERS]
    return [*powers, Unwarped()]


def warps_of_qualities(losses: Array) -> Sequence[Warp]:
    """Returns what losses of what is maximised are tried as."""
    best, median = float(losses.min()), float(np.median(losses))
    behind = median - best or float(np.ptp(losses))
    return [LogAbove(best - share * behind, INSIDE * share * behind) for share in EDGES]
