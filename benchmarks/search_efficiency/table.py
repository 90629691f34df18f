"""Tables: every architecture of a space with its accuracy and its cost, as a space to search."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.search_efficiency.outcomes import TOLD_AS, Outcomes, Values
from nas.problem.metrics import Metric
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Linear

LOWEST = 0.05  # of the median cost; what is cheaper is a broken network, and is taken as this
OPERATION = re.compile(r"[^|+]+")  # of a cell written as |a~0|+|b~0|c~1|


@dataclass(frozen=True, slots=True)
class Problem:
    """Which columns of which files are searched.

    Attributes:
        costs: The file of the costs; that of the accuracies where it is None.
    """

    name: str
    accuracies: str
    accuracy: str
    cost: str
    costs: str | None = None


CELLS, LATENCIES = "nb201_accuracy.parquet", "nb201_latency.parquet"
PROBLEMS = (
    Problem("macro", "nasbench_macro.parquet", "mean_acc", "flops"),
    *(
        Problem(f"nb201 {short} {device}", CELLS, accuracy, device, LATENCIES)
        for short, accuracy in (("c10", "cifar10_val_e200"), ("c100", "cifar100_test_e12"))
        for device in ("raspi4", "eyeriss")
    ),
)


@dataclass(frozen=True)
class Table(Outcomes):
    """A space whose every network is evaluated already.

    Attributes:
        genes: What each gene is in each architecture, (architectures, genes).
        values: Accuracy and cost of each architecture, (architectures, 2).
        metrics: What the sampler takes the two for.
    """

    name: str
    genes: tuple[tuple[str, ...], ...]
    values: Values
    metrics: tuple[Metric, Metric] = TOLD_AS
    graphs: dict[int, Graph] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        columns = zip(*self.genes, strict=True)
        return tuple(Choice(f"gene{i}", tuple(sorted(set(c)))) for i, c in enumerate(columns))

    @cached_property
    def rows(self) -> Mapping[tuple[str, ...], int]:
        return {genes: row for row, genes in enumerate(self.genes)}

    def network(self, pick: Pick) -> Graph:
        """Returns a stand-in that is another one for every architecture."""
        row = self.rows[tuple(str(pick(choice)) for choice in self.choices)]
        if row not in self.graphs:
            net = GraphBuilder((1, 1, 1))
            net.add("stand_in", Linear(row + 1), net.input)
            self.graphs[row] = net.graph()
        return self.graphs[row]

    def row_of(self, graph: Graph) -> int:
        """Returns which architecture a stand-in stands for."""
        return graph.array_shapes()["stand_in.weight"][0] - 1


def read_table(folder: Path, problem: Problem) -> Table:
    """Returns the table of a problem.

    Genes are the columns ``op0``, ``op1``, ...; without them the operations in the index.
    """
    accuracies = pd.read_parquet(folder / problem.accuracies)
    costs = accuracies if problem.costs is None else pd.read_parquet(folder / problem.costs)
    both = accuracies.assign(_cost=costs[problem.cost].reindex(accuracies.index))
    both = both.dropna(subset=[problem.accuracy, "_cost"])
    columns = [c for c in both.columns if re.fullmatch(r"op\d+", str(c))]
    genes = (
        [tuple(map(str, row)) for row in both[columns].to_numpy()]
        if columns
        else [tuple(OPERATION.findall(str(name))) for name in both.index]
    )
    cost = both["_cost"].to_numpy(np.float64)
    cost = np.maximum(cost, LOWEST * np.median(cost))
    accuracy = both[problem.accuracy].to_numpy(np.float64) / 100
    return Table(problem.name, tuple(genes), np.column_stack([accuracy, cost]))
