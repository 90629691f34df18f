"""Archive evolution: an Optuna sampler that breeds architectures, conditional genes included.

Optuna's own evolutionary samplers recombine only the parameters that all trials share, so the
genes of a block that one parent has and the other has not stay random. This one plans a whole
child with the space's own moves and then answers each question from the plan.

Differs from NSGA-II (Deb et al., IEEE TEVC 2002): the archive of all trials is the population and
nobody ages; parents come from the current front by crowding tournament; no architecture is
proposed twice. The choice of these was measured on exhaustive tables of published spaces.
"""

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.problem.metrics import Metric
from nas.problem.pareto import crowding_distances, non_dominated
from nas.search.proposals.gate import Gate
from nas.search.proposals.left_over import LeftOver, passes
from nas.search.proposals.planning import PlanningSampler
from nas.study.names import HASH
from search_spaces.building.choice import Value
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, crossover, mutate, sample

Genes = Mapping[str, Value]
ATTEMPTS = 200  # children that are drawn before what is left is looked for


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
        initial: int = 10,
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
        seen = {other.user_attrs.get(HASH) for other in trials}

        def is_new(architecture: Architecture) -> bool:
            return graph_hash(architecture.graph) not in seen

        finished = [other for other in trials if other.state == TrialState.COMPLETE]
        parents = best_trials(finished, self.metrics)
        breed = len(finished) >= self.initial and bool(parents)
        for attempt in range(ATTEMPTS):
            # Where the neighbourhood is used up, longer steps leave it.
            reach = 1 + attempt // 20
            drawn = self.gate.draw(
                lambda: self.child(parents, rng, reach) if breed else sample(self.space, rng)  # noqa: B023
            )
            if drawn is not None and passes(drawn, is_new):
                return drawn.architecture
        return self.left_over.find(is_new, rng)

    def child(self, parents: list[FrozenTrial], rng: Random, reach: int) -> Architecture:
        mother = tournament(parents, self.metrics, rng).params
        count = rng.randint(1, 1 + reach)
        if rng.random() < self.crossover_rate:
            father = tournament(parents, self.metrics, rng).params
            mother = dict(crossover(self.space, mother, father, rng).genes)
            count -= 1
        return mutate(self.space, mother, rng, count)


def best_trials(finished: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> list[FrozenTrial]:
    """Returns the trials to breed from: the feasible front, or the least infeasible quarter.

    Trials without genes (networks from outside the space) cannot be parents.
    """
    bred = [trial for trial in finished if trial.params]
    feasible = [trial for trial in bred if violation(trial) <= 0]
    if not feasible:
        return sorted(bred, key=violation)[: max(2, len(bred) // 4)]
    mask = non_dominated(points_of(feasible), metrics)
    return [trial for trial, best in zip(feasible, mask, strict=True) if best]


def violation(trial: FrozenTrial) -> float:
    return sum(max(0.0, excess) for excess in trial.constraints.values())


def points_of(trials: Sequence[FrozenTrial]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([trial.values for trial in trials], dtype=np.float64)


def tournament(
    parents: Sequence[FrozenTrial], metrics: Sequence[Metric], rng: Random
) -> FrozenTrial:
    """Returns the lonelier of two random parents, so that gaps of the front fill up."""
    distances = crowding_distances(points_of(parents), metrics)
    first, second = rng.randrange(len(parents)), rng.randrange(len(parents))
    return parents[first if distances[first] >= distances[second] else second]
