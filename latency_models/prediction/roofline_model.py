"""The roofline as a model of kernels: the baseline that others must beat."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.prediction.kernel_table import KernelTable
from latency_models.prediction.learned import ANY, family_doubts, kind_sizes, size_distances
from latency_models.prediction.roofline import Roofline, fit_roofline

Floats = NDArray[np.float64]


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

    def predict(self, table: KernelTable) -> tuple[Floats, Floats]:
        """Returns the logarithm of milliseconds, and its doubt (a standard deviation), (S,)."""
        doubts = [self.doubts.get(f, self.doubts[ANY]) for f in table.families]
        return np.log(self.roofline.predict(table)), np.array(doubts)

    def outside(self, table: KernelTable) -> Floats:
        """Returns how far outside the sizes of its kind each kernel lies, as the learned one."""
        return size_distances(self.sizes, table)


def fit_roofline_model(table: KernelTable, median_ms: Floats) -> RooflineModel:
    """Returns the roofline of kernels with known times (S,), in milliseconds."""
    roofline = fit_roofline(table, median_ms)
    missed = np.log(median_ms) - np.log(roofline.predict(table))
    return RooflineModel(roofline, family_doubts(table, missed), kind_sizes(table))
