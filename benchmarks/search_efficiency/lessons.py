"""Lessons: what a search on another table found, for one on this table to learn from."""

from dataclasses import dataclass

import numpy as np

from benchmarks.search_efficiency.replay import evaluated
from benchmarks.search_efficiency.table import Table
from nas.runs.findings.earlier_run import EarlierRun

OTHER_SEEDS = 10_000  # added to a seed, for the search that is learned from


@dataclass(frozen=True, slots=True)
class Lesson:
    """A search that is learned from.

    Attributes:
        evaluations: So many it made.
        is_shuffled: Whether its values are told of one another's networks, so that they mislead.
    """

    table: Table
    evaluations: int
    is_shuffled: bool = False

    @property
    def name(self) -> str:
        return f"{self.table.name}, shuffled" if self.is_shuffled else self.table.name

    def taught(self, seed: int) -> EarlierRun:
        """Returns what it found, with a seed of its own for each seed."""
        rows = evaluated(self.table, "surrogate", seed + OTHER_SEEDS, self.evaluations)
        choices = {choice.name: choice.values for choice in self.table.choices}
        codes = [
            [values.index(value) for values, value in zip(choices.values(), genes, strict=True)]
            for genes in (self.table.genes[row] for row in rows)
        ]
        values = self.table.values[rows]
        if self.is_shuffled:
            values = values[np.random.default_rng(seed).permutation(len(values))]
        columns = zip(self.table.metrics, values.T, strict=True)
        return EarlierRun(
            self.name,
            choices,
            np.array(codes, dtype=np.int64),
            {metric.name: column for metric, column in columns},
        )
