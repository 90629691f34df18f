"""Archive evolution: an Optuna sampler that breeds architectures, conditional genes included.

Optuna's own evolutionary samplers recombine only the parameters that all trials share, so the
genes of a block that one parent has and the other has not stay random. This one plans a whole
child with the space's own moves and then answers each question from the plan.

Differs from NSGA-II (Deb et al., IEEE TEVC 2002): the archive of all trials is the population and
nobody ages; parents come from the current front by crowding tournament; no architecture is
proposed twice. The choice of these was measured on exhaustive tables of published spaces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Self

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.problem.metrics import Metric
from nas.problem.pareto import Points, crowding_distances, non_dominated
from nas.search.proposals.gate import Gate
from nas.search.proposals.left_over import LeftOver, passes
from nas.search.proposals.planning import PlanningSampler
from nas.study.study import proposed
from search_spaces.building.choice import Value
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, crossover, mutate, sample

Genes = Mapping[str, Value]
TWO_CHANGED = 0.2  # share of children with two decisions changed, not one
ATTEMPTS = 200  # children that are drawn before what is left is looked for


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


class ArchiveEvolutionSampler(PlanningSampler):
    """Plans each trial's architecture from the trials that are finished.

    The plan for a trial depends on the seed and the trials before it that were not interrupted,
    so with one worker an interrupted search goes on as if it had not been interrupted.

    Args:
        initial: Random architectures before breeding starts (baselines count).
        crossover_rate: Share of children that have two parents.
        gate: What every child must pass; children that do not are drawn again.
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
        super().__init__()
        self.space = space
        self.metrics = tuple(metrics)
        self.seed = seed
        self.initial = initial
        self.crossover_rate = crossover_rate
        self.gate = gate or Gate()
        self.left_over = LeftOver(space, self.gate)

    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that ``trial`` shall be.

        Raises:
            NothingToProposeError: If nothing is left to propose, or nothing was found.
        """
        # Trials that were interrupted are queued anew, and must not count twice.
        trials = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        rng = Random(f"{self.seed}-{sum(other.number < trial.number for other in trials)}")
        seen = proposed(study)

        def is_new(architecture: Architecture) -> bool:
            return graph_hash(architecture.graph) not in seen

        finished = [other for other in trials if other.state == TrialState.COMPLETE]
        parents = Parents.of(best_trials(finished, self.metrics), self.metrics)
        breed = len(finished) >= self.initial and bool(parents.trials)
        for attempt in range(ATTEMPTS):
            # Where the neighbourhood is used up, longer steps leave it.
            further = attempt // 20
            drawn = self.gate.draw(
                lambda: self.child(parents, rng, further) if breed else sample(self.space, rng)  # noqa: B023
            )
            if drawn is not None and passes(drawn, is_new):
                return drawn.architecture
        return self.left_over.find(is_new, rng)

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


def violation(trial: FrozenTrial) -> float:
    return sum(max(0.0, excess) for excess in trial.constraints.values())


def points_of(trials: Sequence[FrozenTrial]) -> Points:
    return np.array([trial.values for trial in trials], dtype=np.float64)
