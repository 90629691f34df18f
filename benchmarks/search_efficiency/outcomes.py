"""Outcomes: accuracy and cost of architectures, and what a search that saw some of them misses."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.problem.metrics import METRICS, Metric
from nas.problem.pareto import hypervolume

Values = NDArray[np.float64]
TOLD_AS = (METRICS["accuracy"], METRICS["latency_ms"])  # a cost that no graph tells


class Outcomes:
    """What architectures are known to be.

    Attributes:
        values: Accuracy and cost of each, (architectures, 2).
        metrics: What the sampler takes the two for.
    """

    values: Values
    metrics: tuple[Metric, Metric]

    @cached_property
    def logarithmic(self) -> Values:
        return np.column_stack([self.values[:, 0], np.log(self.values[:, 1])])

    @cached_property
    def corner(self) -> tuple[float, float]:
        """The reference: median accuracy and largest cost."""
        return float(np.median(self.values[:, 0])), float(self.logarithmic[:, 1].max())

    @cached_property
    def volume(self) -> float:
        return hypervolume(self.logarithmic, self.corner, self.metrics)

    def regrets(self, rows: Sequence[int]) -> Values:
        """Returns what share of the hypervolume is missing after each of these evaluations."""
        best: list[int] = []
        found, here = np.ones(len(rows)), 0.0
        for at, row in enumerate(rows):
            accuracy, cost = self.logarithmic[row]
            kept = self.logarithmic[best]
            if not ((kept[:, 0] >= accuracy) & (kept[:, 1] <= cost)).any():
                best = [b for b in best if not self.beats(row, b)] + [row]
                here = hypervolume(self.logarithmic[best], self.corner, self.metrics)
            found[at] = 1 - here / self.volume
        return found

    def beats(self, row: int, other: int) -> bool:
        accuracy, cost = self.logarithmic[row] - self.logarithmic[other]
        return bool(accuracy >= 0 and cost <= 0)
