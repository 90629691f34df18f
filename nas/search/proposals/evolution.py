"""Archive evolution: an Optuna sampler that breeds architectures, conditional genes included.

Optuna's own evolutionary samplers recombine only the parameters that all trials share, so the
genes of a block that one parent has and the other has not stay random. This one plans a whole
child with the space's own moves and then answers each question from the plan.

Differs from NSGA-II (Deb et al., IEEE TEVC 2002): the archive of all trials is the population and
nobody ages; parents come from the current front by crowding tournament; no architecture is
proposed twice. The choice of these was measured on exhaustive tables of published spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Self

import numpy as np
from optuna.trial import FrozenTrial

from nas.problem.metrics import Metric
from nas.problem.pareto import Points, crowding_distances, non_dominated
from nas.search.proposals.gate import Gate
from nas.search.proposals.planning import Draw, DrawingSampler
from nas.study.gains import violation
from search_spaces.space.space import Architecture, SearchSpace, crossover, mutate, sample

TWO_CHANGED = 0.2  # share of children with two decisions changed, not one


@dataclass(frozen=True, slots=True)
class Parents:
    """Trials to breed from.

    Attributes:
        distances: Crowding distance of each among them.
    """

    trials: Sequence[FrozenTrial]
    distances: Points

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> Self:
        return cls(
            trials, crowding_distances(points_of(trials), metrics) if trials else np.zeros(0)
        )

    def lonelier(self, rng: Random) -> FrozenTrial:
        """Returns the lonelier of two random ones, so that gaps of the front fill up."""
        first, second = rng.randrange(len(self.trials)), rng.randrange(len(self.trials))
        return self.trials[first if self.distances[first] >= self.distances[second] else second]


class ArchiveEvolutionSampler(DrawingSampler):
    """Plans each trial's architecture from the trials that are finished.

    Args:
        initial: Random architectures before breeding starts (baselines count).
        crossover_rate: Share of children that have two parents.
        gate: What every child must pass.
    """

    def __init__(
        self,
        space: SearchSpace,
        metrics: Sequence[Metric],
        *,
        seed: int,
        initial: int = 20,
        crossover_rate: float = 0.3,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(space, metrics, seed=seed, initial=initial, gate=gate)
        self.crossover_rate = crossover_rate

    def drawing(self, finished: Sequence[FrozenTrial], rng: Random) -> Draw:
        parents = Parents.of(best_trials(finished, self.metrics), self.metrics)
        if len(finished) < self.initial or not parents.trials:
            return lambda further: sample(self.space, rng)
        return lambda further: self.child(parents, rng, further)

    def child(self, parents: Parents, rng: Random, further: int) -> Architecture:
        """Returns a child of one or two parents with one decision changed, seldom two.

        Args:
            further: Up to so many more decisions are changed.
        """
        genes = parents.lonelier(rng).params
        if rng.random() < self.crossover_rate:
            # Any other one: two that are lonely lie far apart, and their children between.
            other = rng.choice(parents.trials).params
            genes = dict(crossover(self.space, genes, other, rng).genes)
        count = 1 + (rng.random() < TWO_CHANGED) + rng.randint(0, further)
        return mutate(self.space, genes, rng, count)


def best_trials(finished: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> list[FrozenTrial]:
    """Returns the trials to breed from: the feasible front, or the least infeasible quarter.

    Of equal points the first stays alone: a space has many networks of one cost that learn
    nothing, and they would be most of the parents.
    Trials without genes (networks from outside the space) cannot be parents, nor can those with
    values that are no numbers.
    """
    bred = [t for t in finished if t.params and np.isfinite(t.values).all()]
    feasible = [trial for trial in bred if violation(trial) <= 0]
    if not feasible:
        return sorted(bred, key=violation)[: max(2, len(bred) // 4)]
    points = points_of(feasible)
    front = np.flatnonzero(non_dominated(points, metrics))
    _, firsts = np.unique(points[front], axis=0, return_index=True)
    return [feasible[at] for at in np.sort(front[firsts])]


def points_of(trials: Sequence[FrozenTrial]) -> Points:
    return np.array([trial.values for trial in trials], dtype=np.float64)
