"""Planning: samplers that decide a trial's whole architecture, and then answer from that plan."""

from abc import abstractmethod
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces.building.choice import Value
from search_spaces.space.space import Architecture


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
