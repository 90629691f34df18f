"""Planning: samplers that decide a trial's whole architecture, and then answer from that plan."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search_spaces.building.choice import Choice, Value
from search_spaces.space.space import Architecture, SearchSpace, decide


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
