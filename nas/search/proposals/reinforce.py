"""REINFORCE: a policy over decisions that learns from the reward of each trial.

Source: Zoph and Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017,
https://arxiv.org/abs/1611.01578 (REINFORCE with a moving baseline); Pham et al., ENAS, ICML 2018,
https://arxiv.org/abs/1802.03268 (entropy bonus); Tan et al., MnasNet, CVPR 2019,
https://arxiv.org/abs/1807.11626 (the reward of accuracy and latency, `reward.py`).
Differs from the papers: the policy is log-linear, see `learning/policy.py`; advantages are divided
by their moving deviation, so steps do not depend on the reward's scale; no architecture is
proposed twice, so what was drawn again and again in vain is drawn more and more evenly; and queued
architectures teach like drawn ones.
"""

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
from optuna.trial import FrozenTrial

from nas.problem.metrics import Metric
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.policy import Policy
from nas.search.proposals.learning.reward import SoftReward, by_completion
from nas.search.proposals.planning import Draw, DrawingSampler
from search_spaces.space.space import SearchSpace, decide, record

RATE = 0.3  # of a step, for an advantage of one deviation
BONUS = 0.01  # for entropy, beside such an advantage
MEMORY = 0.9  # of the moving baseline
MOST = 3.0  # deviations that one trial may be better or worse by


class Learner:
    """A policy that has learned from some trials, and goes on with those that are finished later.

    Args:
        first: Trials that tell what rewards to expect; they teach like all others.
    """

    def __init__(
        self, first: Sequence[FrozenTrial], space: SearchSpace, reward: SoftReward
    ) -> None:
        self.space = space
        self.reward = reward
        self.policy = Policy()
        self.taught: list[int] = []
        rewards = [reward.of_trial(trial) for trial in first]
        self.baseline = float(np.mean(rewards))
        self.variance = float(np.var(rewards))

    def learn(self, trial: FrozenTrial) -> None:
        beyond = self.reward.of_trial(trial) - self.baseline
        deviation = max(np.sqrt(self.variance), np.finfo(np.float32).eps)
        advantage = float(np.clip(beyond / deviation, -MOST, MOST))
        asked = record(self.space, lambda choice: trial.params[choice.name]).choices
        taken = [(choice, trial.params[choice.name]) for choice in asked]
        self.policy.learn(taken, advantage, RATE, BONUS)
        self.baseline += (1 - MEMORY) * beyond
        self.variance += (1 - MEMORY) * (beyond**2 - self.variance)
        self.taught.append(trial.number)


class ReinforceSampler(DrawingSampler):
    """Plans each trial's architecture by a policy that all finished trials have taught.

    Args:
        initial: Random architectures before the policy learns, the baselines among them; the
            medians of their costs are targets where there is no bound.
        gate: What every architecture must pass.
        bounds: What costs may be at most, by metric.
    """

    def __init__(
        self,
        space: SearchSpace,
        metrics: Sequence[Metric],
        *,
        seed: int,
        initial: int = 20,
        gate: Gate | None = None,
        bounds: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(space, metrics, seed=seed, initial=initial, gate=gate)
        self.bounds = bounds or {}
        self._learner: Learner | None = None

    def drawing(self, finished: Sequence[FrozenTrial], rng: Random) -> Draw:
        policy = self.policy(by_completion(finished))
        return lambda further: decide(self.space, policy.picking(rng, 1.0 + further))

    def policy(self, trials: Sequence[FrozenTrial]) -> Policy:
        """Returns what these trials teach; those that were learned from already are not again."""
        if len(trials) < self.initial:
            return Policy()
        first = trials[: self.initial]
        learner = self._learner
        if learner is None or learner.taught != [t.number for t in trials[: len(learner.taught)]]:
            reward = SoftReward.of(first, self.metrics, self.bounds)
            self._learner = learner = Learner(first, self.space, reward)
        for trial in trials[len(learner.taught) :]:
            learner.learn(trial)
        return learner.policy
