"""Baselines that other models of kernels must beat: a lookup table, and the roofline.

The table knows kernels that were timed, and what lies between kernels of the same kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.prediction.kernel_rows import KernelRows
from latency_models.prediction.learned import (
    ANY,
    family_doubts,
    kind_sizes,
)
from latency_models.prediction.roofline import Roofline, fit_roofline

Floats = NDArray[np.float64]
NEIGHBOURS = 4


@dataclass(frozen=True, slots=True)
class LookupModel:
    """Timed kernels by kind; between them, the speed is that of the nearest ones.

    Attributes:
        known: By kind: sizes (S, R) of timed kernels, and by how much each was slower than the
            roofline, in logarithms, (S,).
        doubts: By family: the error in log latency of kernels that were left out.
        sizes: By kind: the least and largest size of a timed kernel, (2, R).
    """

    roofline: Roofline
    known: Mapping[str, tuple[Floats, Floats]]
    doubts: Mapping[str, float]
    sizes: Mapping[str, Floats]

    def predict(self, table: KernelRows) -> tuple[Floats, Floats]:
        """Returns the logarithm of milliseconds, and its doubt (a standard deviation), (S,)."""
        ideal = np.log(self.roofline.predict(table))
        slower = [
            between(*self.known[kind], size) if kind in self.known else 0.0
            for kind, size in zip(table.kinds, table.sizes, strict=True)
        ]
        doubts = [self.doubts.get(f, self.doubts[ANY]) for f in table.families]
        return ideal + np.array(slower), np.array(doubts)


def between(sizes: Floats, slower: Floats, size: Floats) -> float:
    """Returns the mean over the nearest known sizes, weighted by inverse distance."""
    distance = np.linalg.norm(sizes - size, axis=1)
    near = np.argsort(distance, kind="stable")[:NEIGHBOURS]
    weight = 1 / (distance[near] + 1e-3)
    return float((weight * slower[near]).sum() / weight.sum())


def fit_lookup(table: KernelRows, median_ms: Floats) -> LookupModel:
    """Returns the lookup of kernels with known times (S,), in milliseconds."""
    roofline = fit_roofline(table, median_ms)
    slower = np.log(median_ms) - np.log(roofline.predict(table))
    known, missed = {}, np.zeros(len(table))
    for kind in np.unique(table.kinds):
        own = np.flatnonzero(table.kinds == kind)
        sizes = table.sizes[own]
        known[str(kind)] = (sizes, slower[own])
        for place, index in enumerate(own):
            others = np.arange(len(own)) != place
            guess = (
                between(sizes[others], slower[own][others], sizes[place]) if len(own) > 1 else 0
            )
            missed[index] = slower[index] - guess
    return LookupModel(roofline, known, family_doubts(table, missed), kind_sizes(table))


@dataclass(frozen=True, slots=True)
class RooflineModel:
    """Peaks alone.

    Attributes:
        doubts: By family: the error in log latency.
        sizes: By kind: the least and largest size of a timed kernel, (2, R).
    """

    roofline: Roofline
    doubts: Mapping[str, float]
    sizes: Mapping[str, Floats]

    def predict(self, table: KernelRows) -> tuple[Floats, Floats]:
        """Returns the logarithm of milliseconds, and its doubt (a standard deviation), (S,)."""
        doubts = [self.doubts.get(f, self.doubts[ANY]) for f in table.families]
        return np.log(self.roofline.predict(table)), np.array(doubts)


def fit_roofline_model(table: KernelRows, median_ms: Floats) -> RooflineModel:
    """Returns the roofline of kernels with known times (S,), in milliseconds."""
    roofline = fit_roofline(table, median_ms)
    missed = np.log(median_ms) - np.log(roofline.predict(table))
    return RooflineModel(roofline, family_doubts(table, missed), kind_sizes(table))
