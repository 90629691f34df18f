"""Planning: samplers that decide a trial's whole architecture, and then answer from that plan."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nas.problem.metrics import Metric
from nas.search.proposals.gate import Gate
from nas.search.proposals.left_over import LeftOver, passes
from nas.study.study import proposed
from search_spaces.building.choice import Choice, Value
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, decide

ATTEMPTS = 200  # architectures that are drawn before what is left is looked for
PATIENCE = 20  # of them before draws go one step further
Draw = Callable[[int], Architecture]  # given how many steps further than usual


class PlanningSampler(BaseSampler):
    """Answers each question about a trial from one plan, made when the first is asked."""

    def __init__(self) -> None:
        self._plans: dict[int, dict[str, Value]] = {}

    @abstractmethod
    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that ``trial`` shall be."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Value:
        if trial.number not in self._plans:
            self._plans = {trial.number: dict(self.plan(study, trial).genes)}
        return self._plans[trial.number][param_name]


class DrawingSampler(PlanningSampler):
    """Plans the first of many draws that is new and passes the gate.

    The plan for a trial depends on the seed and the trials before it that were not interrupted,
    so with one worker an interrupted search goes on as if it had not been interrupted.

    Args:
        initial: Random architectures before anything is learned from (baselines count).
        gate: What every architecture must pass; those that do not are drawn again.
    """

    def __init__(
        self,
        space: SearchSpace,
        metrics: Sequence[Metric],
        *,
        seed: int,
        initial: int = 20,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.metrics = tuple(metrics)
        self.seed = seed
        self.initial = initial
        self.gate = gate or Gate()
        self.left_over = LeftOver(space, self.gate)

    @abstractmethod
    def drawing(self, finished: Sequence[FrozenTrial], rng: Random) -> Draw:
        """Returns what draws architectures, in the light of the trials that are finished."""

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

        draw = self.drawing([t for t in trials if t.state == TrialState.COMPLETE], rng)
        for attempt in range(ATTEMPTS):
            # Where the neighbourhood is used up, longer steps leave it.
            further = attempt // PATIENCE
            drawn = self.gate.draw(lambda: draw(further))  # noqa: B023
            if drawn is not None and passes(drawn, is_new):
                return drawn.architecture
        return self.left_over.find(is_new, rng)


class OuterSampler(PlanningSampler):
    """Plans with what another sampler proposes.

    Attributes:
        inner: That sampler.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace) -> None:
        super().__init__()
        self.inner = inner
        self.space = space

    def proposed(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns what the sampler inside proposes, asked as a trial would ask it.

        Raises:
            UserError: If its decisions make no network, or it has nothing to propose.
        """
        together = self.inner.infer_relative_search_space(study, trial)
        drawn = self.inner.sample_relative(study, trial, together)

        def pick(choice: Choice) -> Value:
            if len(choice.values) == 1:
                return choice.values[0]
            if choice.name in drawn and drawn[choice.name] in choice.values:
                value: Value = drawn[choice.name]
                return value
            distribution = CategoricalDistribution(choice.values)
            value = self.inner.sample_independent(study, trial, choice.name, distribution)
            return value

        return decide(self.space, pick)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()
