"""Sieve: asks a sampler of Optuna's until what it proposes passes the gate.

Optuna's samplers know no constraint before it is told them, and may propose the same again and
again. What does not pass is drawn anew and never becomes a trial.
"""

from random import Random

from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.proposals.gate import Gate
from nas.search.proposals.left_over import LeftOver
from nas.search.proposals.planning import OuterSampler
from nas.study.study import proposed
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace

DRAWS = 30  # of the sampler, before what passes is looked for elsewhere


class Sieve(OuterSampler):
    """Proposes what ``inner`` does, where that passes.

    Attributes:
        only_new: Whether to leave a sampler that only repeats itself alone, and propose what is
            new, at random.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace, gate: Gate, seed: int) -> None:
        super().__init__(inner, space)
        self.gate = gate
        self.seed = seed
        self.only_new = False
        self.left_over = LeftOver(space, gate)

    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that ``trial`` shall be.

        Raises:
            NothingToProposeError: If nothing is left to propose, or nothing was found.
        """
        for _ in range(0 if self.only_new else DRAWS):
            drawn = self.gate.draw(lambda: self.proposed(study, trial))
            if drawn is not None and drawn.excess <= 0:
                return drawn.architecture
        trials = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        seen = proposed(study)
        rng = Random(f"{self.seed}-{len(trials)}")

        def is_new(architecture: Architecture) -> bool:
            return graph_hash(architecture.graph) not in seen

        return self.left_over.find(is_new, rng)
