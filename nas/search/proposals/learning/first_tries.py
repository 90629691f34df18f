"""First tries: the best of earlier runs, among the first trials of a search that learns of them.

Every fourth of the random trials that a search begins with gives way to one of these, so that it
is seen where it matters how far the earlier runs agree; the others stay a sample of the space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from random import Random

import numpy as np

from nas.problem.metrics import Metric
from nas.problem.pareto import unit_losses
from nas.runs.findings.earlier_run import EarlierRun
from search_spaces.building.choice import Value
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, complete

MOST = 30  # of one run
EVERY = 4  # three random ones, and a try

Draw = Callable[[Callable[[], Architecture]], Architecture | None]


@dataclass(frozen=True)
class FirstTries:
    """The fronts of earlier runs, as far as the space can make them.

    Attributes:
        draw: Returns what it is given to draw, None where that may not be proposed.
    """

    space: SearchSpace
    metrics: Sequence[Metric]
    earlier: Sequence[EarlierRun]
    draw: Draw
    seed: int

    def due(self, count: int, initial: int) -> Sequence[Architecture]:
        """Returns what may be tried after so many trials; nothing where a random one is due."""
        is_due = count < initial and count % EVERY == EVERY - 1
        return self.architectures if self.earlier and is_due else ()

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """What is tried: of each run in turn, in the order in which they were named."""
        rng, found = Random(f"{self.seed}-first"), dict[str, Architecture]()
        turns = zip_longest(*(spread(run, self.metrics) for run in self.earlier))
        for genes in (genes for turn in turns for genes in turn if genes is not None):
            drawn = self.draw(lambda: complete(self.space, genes, rng))  # noqa: B023
            if drawn is not None:
                found.setdefault(graph_hash(drawn.graph), drawn)
        return tuple(found.values())

    @cached_property
    def hashes(self) -> frozenset[str]:
        return frozenset(graph_hash(each.graph) for each in self.architectures)


def spread(run: EarlierRun, metrics: Sequence[Metric]) -> list[dict[str, Value]]:
    """Returns genes of the front of a run: the best of the first metric, then ever the farthest.

    Of equal points the first stands alone.
    """
    known = [metric for metric in metrics if metric.name in run.values]
    front = run.front(metrics)
    if not front:
        return []
    points = np.array([run.values[metric.name][front] for metric in known]).T
    _, firsts = np.unique(points, axis=0, return_index=True)
    front, points = [front[at] for at in np.sort(firsts)], points[np.sort(firsts)]
    losses = unit_losses(points, known)
    order = [int(losses[:, 0].argmin())]
    distances = np.full(len(front), np.inf)
    while len(order) < min(MOST, len(front)):
        gap = np.linalg.norm(losses - losses[order[-1]], axis=1)
        distances = np.minimum(distances, gap)
        order.append(int(distances.argmax()))
    return [run.genes(front[at]) for at in order]
