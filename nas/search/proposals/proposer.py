"""Proposer: which architecture a trial is to be, and what is to be noted about that."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.problem.search_problem import Setting
from nas.search.proposals.dominated_genes import ReplacingSampler
from nas.search.proposals.gate import SpaceUsedUpError
from nas.search.proposals.planning import OuterSampler
from nas.search.proposals.sieve import Sieve
from nas.study.names import ARCHITECTURE, BASELINE, ENQUEUED, HASH, REPLACED
from nas.study.study import suggest
from search_spaces.space.architecture import from_json, graph_hash
from search_spaces.space.space import Architecture, decide, restore

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Proposer:
    """Decides trials of a study, by its sampler or as they were queued."""

    setting: Setting
    study: optuna.Study

    def propose(self, trial: optuna.Trial) -> tuple[Architecture, Mapping[str, Any]]:
        """Returns the architecture that a trial is, and attributes that it is to keep.

        Raises:
            NothingToProposeError: If nothing is left to propose, or nothing was found.
            UserError: If it was queued with decisions that make no network.
        """
        name = trial.user_attrs.get(BASELINE)
        if name is not None and not self.setting.baselines[name].genes:
            return self.setting.baselines[name], {}
        if (outside := outside_the_space(trial.user_attrs)) is not None:
            return outside, {}
        architecture = decide(self.setting.space, suggest(trial))
        asked = any(not each.single() for each in trial.distributions.values())
        if not asked and self.is_known(architecture):
            raise SpaceUsedUpError(
                f"space {self.setting.space.name!r} has one architecture, which is tried; enlarge "
                "the space"
            )
        return architecture, self.notes(trial.number)

    def is_known(self, architecture: Architecture) -> bool:
        """Whether a trial is or was this architecture."""
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        trials = self.study.get_trials(deepcopy=False, states=states)
        key = graph_hash(architecture.graph)
        return any(trial.user_attrs.get(HASH) == key for trial in trials)

    def leave_the_sampler(self) -> bool:
        """Lets what is new be proposed at random from now on; False where that cannot be."""
        sampler = self.study.sampler
        while isinstance(sampler, OuterSampler) and not isinstance(sampler, Sieve):
            sampler = sampler.inner
        if not isinstance(sampler, Sieve) or sampler.only_new:
            return False
        sampler.only_new = True
        return True

    def notes(self, number: int) -> Mapping[str, Any]:
        """Returns which genes of a proposal were useless, as its trial keeps them."""
        sampler = self.study.sampler
        if not isinstance(sampler, ReplacingSampler) or number not in sampler.replacements:
            return {}
        replacements = sampler.replacements[number]
        for replacement in replacements:
            log.info("trial %d: %s", number, replacement)
        return {REPLACED: [asdict(r) for r in replacements]} if replacements else {}

    def decided(self, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that a finished trial was."""
        name = trial.user_attrs.get(BASELINE)
        if name is not None:
            return self.setting.baselines[name]
        if (outside := outside_the_space(trial.user_attrs)) is not None:
            return outside
        return restore(self.setting.space, trial.params)


def outside_the_space(attributes: Mapping[str, Any]) -> Architecture | None:
    """Returns the architecture of a trial that was queued and that no genes decide, or None."""
    if ENQUEUED not in attributes or ARCHITECTURE not in attributes:
        return None
    architecture = from_json(attributes[ARCHITECTURE])
    return None if architecture.genes else architecture
