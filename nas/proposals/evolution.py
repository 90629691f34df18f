"""Archive evolution: an Optuna sampler that breeds architectures, conditional genes included.

Optuna's own evolutionary samplers recombine only the parameters that all trials share, so the
genes of a block that one parent has and the other has not stay random. This one plans a whole
child with the space's own moves and then answers each question from the plan.

Differs from NSGA-II (Deb et al., IEEE TEVC 2002): the archive of all trials is the population and
nobody ages; parents come from the current front by crowding tournament; no architecture is
proposed twice. The choice of these was measured on exhaustive tables of published spaces.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.problem.metrics import Metric
from nas.problem.pareto import crowding_distances, non_dominated
from nas.proposals.planning import PlanningSampler
from nas.study.names import HASH
from search_spaces.building.choice import Choice, Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, crossover, decide, mutate, sample

Genes = Mapping[str, Value]
ATTEMPTS = 200  # children that are drawn before the space is walked for what is left of it
STEPS = 2000  # of that walk, for one child


class SpaceUsedUpError(UserError):
    """Every architecture of the space that keeps the constraints was proposed."""


class ArchiveEvolutionSampler(PlanningSampler):
    """Plans each trial's architecture from the trials that are finished.

    The plan for a trial depends on the seed and the trials before it that were not interrupted,
    so with one worker an interrupted search goes on as if it had not been interrupted.

    Args:
        initial: Random architectures before breeding starts (baselines count).
        crossover_rate: Share of children that have two parents.
        affordable: Whether a graph keeps the constraints that are known without measuring;
            children that do not are drawn again.
    """

    def __init__(
        self,
        space: SearchSpace,
        metrics: Sequence[Metric],
        *,
        seed: int,
        initial: int = 10,
        crossover_rate: float = 0.3,
        affordable: Callable[[Graph], bool] = lambda graph: True,
    ) -> None:
        super().__init__()
        self.space = space
        self.metrics = tuple(metrics)
        self.seed = seed
        self.initial = initial
        self.crossover_rate = crossover_rate
        self.affordable = affordable
        self._walk = every_architecture(space)

    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that ``trial`` shall be.

        Raises:
            SpaceUsedUpError: If nothing is left to propose.
        """
        # Trials that were interrupted are queued anew, and must not count twice.
        trials = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        rng = Random(f"{self.seed}-{sum(other.number < trial.number for other in trials)}")
        seen = {other.user_attrs.get(HASH) for other in trials}

        def is_wanted(architecture: Architecture) -> bool:
            graph = architecture.graph
            return graph_hash(graph) not in seen and self.affordable(graph)

        finished = [other for other in trials if other.state == TrialState.COMPLETE]
        parents = best_trials(finished, self.metrics)
        breed = len(finished) >= self.initial and bool(parents)
        for attempt in range(ATTEMPTS):
            # Where the neighbourhood is used up, longer steps leave it.
            child = (
                self.child(parents, rng, 1 + attempt // 20) if breed else sample(self.space, rng)
            )
            if is_wanted(child):
                return child
        return self.left_over(is_wanted) or child

    def left_over(self, is_wanted: Callable[[Architecture], bool]) -> Architecture | None:
        """Returns the next architecture that is wanted, None where it is too far to walk.

        What was passed is never wanted again, so the walk goes on where it was.

        Raises:
            SpaceUsedUpError: If the walk is at its end.
        """
        steps = 0
        for architecture in islice(self._walk, STEPS):
            steps += 1
            if is_wanted(architecture):
                return architecture
        if steps < STEPS:
            raise SpaceUsedUpError(
                f"space {self.space.name!r} has no more architectures that keep the constraints; "
                "lower search.trials or enlarge the space"
            )
        return None

    def child(self, parents: list[FrozenTrial], rng: Random, reach: int) -> Architecture:
        mother = tournament(parents, self.metrics, rng).params
        count = rng.randint(1, 1 + reach)
        if rng.random() < self.crossover_rate:
            father = tournament(parents, self.metrics, rng).params
            mother = dict(crossover(self.space, mother, father, rng).genes)
            count -= 1
        return mutate(self.space, mother, rng, count)


def every_architecture(space: SearchSpace) -> Iterator[Architecture]:
    """Yields every way of deciding the space, the last decision changing fastest."""
    path: list[int] = []  # which value each decision takes; what is beyond it takes the first
    while True:
        sizes: list[int] = []

        def pick(choice: Choice) -> Value:
            index = path[len(sizes)] if len(sizes) < len(path) else 0  # noqa: B023  (used at once)
            sizes.append(len(choice.values))  # noqa: B023
            return choice.values[index]

        yield decide(space, pick)
        path += [0] * (len(sizes) - len(path))
        while path and path[-1] + 1 == sizes[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


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
