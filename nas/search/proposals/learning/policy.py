"""Policy: how likely each decision is, given the decisions before it, and how that is learned.

A gene's logits are a term of its own and a term for each decision that was taken before, so what
a conditional gene is to be depends on what asked for it. All terms begin at zero: whatever was
never asked is drawn uniformly, and the first architectures are those of random search.

Source: Williams, "Simple statistical gradient-following algorithms for connectionist
reinforcement learning", Machine Learning 1992, https://doi.org/10.1007/BF00992696; Zoph and Le,
"Neural Architecture Search with Reinforcement Learning", ICLR 2017,
https://arxiv.org/abs/1611.01578, section 3.2; the entropy bonus as in Pham et al., ENAS, ICML
2018, https://arxiv.org/abs/1802.03268.
Differs from the papers: a log-linear model stands for their recurrent network. It learns from
hundreds of trials where those have thousands, its gradient is one line, and it is learned again
from all trials in a moment when a search is resumed.
"""

from collections.abc import Sequence
from math import sqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

from search_spaces.building.choice import Choice, Pick, Value

Array = NDArray[np.float64]
Decision = tuple[str, Value]
CONTEXT = 64  # decisions that a gene looks back on, so that work grows with genes, not pairs


class Policy:
    """A distribution over the architectures of any space, gene after gene.

    Attributes:
        own: Logits of each gene's values, by gene.
        pairs: Logits of a gene's values that a decision before it adds, by gene and decision.
    """

    def __init__(self) -> None:
        self.own: dict[str, Array] = {}
        self.pairs: dict[tuple[str, Decision], Array] = {}

    def picking(self, rng: Random, temperature: float = 1.0) -> Pick:
        """Returns what draws one architecture; a high temperature draws nearly uniformly."""
        before: list[Decision] = []

        def pick(choice: Choice) -> Value:
            if len(choice.values) == 1:
                return choice.values[0]
            chances = self.chances(choice, before, temperature)
            (value,) = rng.choices(choice.values, chances.tolist())
            before.append((choice.name, value))
            return value

        return pick

    def chances(
        self, choice: Choice, before: Sequence[Decision], temperature: float = 1.0
    ) -> Array:
        """Returns how likely each value is, after these decisions."""
        logits = np.zeros(len(choice.values))
        logits += self.own.get(choice.name, 0.0)
        context = before[-CONTEXT:]
        for decision in context:
            term = self.pairs.get((choice.name, decision))
            if term is not None:
                logits += term / sqrt(len(context))
        weights: Array = np.exp((logits - logits.max()) / temperature)
        return weights / weights.sum()

    def learn(
        self, taken: Sequence[tuple[Choice, Value]], advantage: float, rate: float, bonus: float
    ) -> None:
        """Takes a step up ``advantage`` x log-probability + ``bonus`` x entropy, in place.

        Args:
            taken: An architecture's decisions in their order; each term belongs to one gene, so
                they are stepped one after another.
        """
        before: list[Decision] = []
        for choice, value in taken:
            if len(choice.values) == 1:
                continue
            chances = self.chances(choice, before)
            here = np.arange(len(chances)) == choice.values.index(value)
            step = rate * (advantage * (here - chances) + bonus * entropy_gradient(chances))
            self.own[choice.name] = self.own.get(choice.name, 0.0) + step
            context = before[-CONTEXT:]
            for decision in context:
                key = (choice.name, decision)
                self.pairs[key] = self.pairs.get(key, 0.0) + step / sqrt(len(context))
            before.append((choice.name, value))


def entropy_gradient(chances: Array) -> Array:
    """Returns what the entropy of a distribution gains by each of its logits."""
    logs = np.log(np.maximum(chances, np.finfo(np.float64).tiny))
    return -chances * (logs - chances @ logs)
