"""Aging evolution: the oldest dies, however good it is.

Source: Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture
Search", AAAI 2019, https://arxiv.org/abs/1802.01548, algorithm 1: of a sample of the population,
drawn with replacement, the best is the parent; its mutated child enters, the oldest one leaves.
Differs from the paper: the population is what `search.initial` says (there 100), the sample a
quarter of it, as there; a mutation always changes a decision, and no architecture is proposed
twice; with several objectives the best is one that nothing in the sample dominates.
"""

from collections.abc import Sequence
from random import Random

from optuna.trial import FrozenTrial

from nas.search.proposals.evolution import Parents, best_trials
from nas.search.proposals.learning.reward import by_completion
from nas.search.proposals.planning import Draw, DrawingSampler
from nas.study.gains import violation
from search_spaces.space.space import Architecture, mutate, sample

SAMPLE = 4  # one in so many of the population is drawn into a sample


class AgingEvolutionSampler(DrawingSampler):
    """Plans each trial's architecture from the youngest of the trials that are finished.

    As many live at a time as random ones come first.
    """

    @property
    def sample_size(self) -> int:
        return max(2, self.initial // SAMPLE)

    def drawing(self, finished: Sequence[FrozenTrial], rng: Random) -> Draw:
        alive = by_completion(finished)[-self.initial :]
        if len(alive) < self.initial:
            return lambda further: sample(self.space, rng)
        return lambda further: self.child(alive, rng, further)

    def best_of(self, sampled: Sequence[FrozenTrial], rng: Random) -> FrozenTrial:
        """Returns the parent: of what nothing in the sample dominates, the lonelier of two."""
        best = best_trials(sampled, self.metrics)
        if not best:  # values that are no numbers
            return sampled[0]
        if violation(best[0]) > 0:
            return best[0]
        return Parents.of(best, self.metrics).lonelier(rng)

    def child(self, alive: Sequence[FrozenTrial], rng: Random, further: int) -> Architecture:
        """Returns a child of the best of a sample, with one decision changed.

        Args:
            further: Up to so many more decisions are changed.
        """
        parent = self.best_of(rng.choices(alive, k=self.sample_size), rng)
        return mutate(self.space, parent.params, rng, 1 + rng.randint(0, further))
