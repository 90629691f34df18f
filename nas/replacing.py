"""Replacing sampler: any Optuna sampler, whose proposals lose their useless genes.

The sampler inside decides a whole architecture; what takes its place is what the trial is told to
be, so its parameters, its hash and what the sampler learns are of the network really evaluated.
Queued trials (baselines, and those that an interrupted search left) are taken as they are.
"""

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nas.useless import Replacement, UselessGenes
from search_spaces.choice import Choice, Value
from search_spaces.space import Architecture, SearchSpace, decide


class ReplacingSampler(BaseSampler):
    """Asks ``inner`` for an architecture and answers with what replaces it.

    Attributes:
        replacements: What was replaced in the trial asked last, by its number.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace, useless: UselessGenes) -> None:
        self.inner = inner
        self.space = space
        self.useless = useless
        self.replacements: dict[int, tuple[Replacement, ...]] = {}
        self._plans: dict[int, dict[str, Value]] = {}

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
            planned, made = self.useless.replaced(self.proposed(study, trial))
            self._plans = {trial.number: dict(planned.genes)}
            self.replacements = {trial.number: made}
        return self._plans[trial.number][param_name]

    def proposed(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns what the sampler inside proposes, asked as a trial would ask it."""
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
