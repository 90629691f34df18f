"""Reward: one number for a trial, where a sampler of one objective is given several.

Source: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019,
https://arxiv.org/abs/1807.11626, equations 2 and 3 with alpha = beta = -0.07, the soft constraint:
accuracy x (latency / target) ^ -0.07.
Differs from the paper: each cost has a factor and a target of its own. A constraint of the search
is hard, so what breaks one is worth less than all that keeps them, the less the further.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from optuna.trial import FrozenTrial

from nas.problem.metrics import Metric
from nas.study.gains import violation

EXPONENT = -0.07  # twice the cost must bring 5 % more accuracy
LEAST_SHARE = 1e-3  # of the target; a cost of nothing is worth no more than this
WORST, BEST = -1.0, 1e6  # whatever trials were told, so that squares are numbers


@dataclass(frozen=True, slots=True)
class SoftReward:
    """Weighs qualities against costs.

    Attributes:
        targets: By cost, in its unit; a cost that has none does not count.
    """

    metrics: tuple[Metric, ...]
    targets: Mapping[str, float]

    @classmethod
    def of(
        cls,
        first: Sequence[FrozenTrial],
        metrics: Sequence[Metric],
        bounds: Mapping[str, float],
    ) -> Self:
        """Returns the reward whose targets are bounds, or else the medians of the first trials.

        Args:
            bounds: What costs may be at most, by metric.
        """
        targets = {}
        for at, metric in enumerate(metrics):
            if metric.direction == "maximize":
                continue
            had = [t.values[at] for t in first if 0 < t.values[at] < metric.worst]
            target = bounds.get(metric.name, 0.0)
            if target > 0 or had:
                targets[metric.name] = target if target > 0 else float(np.median(had))
        return cls(tuple(metrics), targets)

    def of_trial(self, trial: FrozenTrial) -> float:
        """Returns at least 0 for what keeps every constraint, and down to -1 for what does not.

        Where there are several qualities, their mean counts; where there is none, costs alone.
        """
        excess = violation(trial)
        if not np.isfinite(trial.values).all():
            return WORST
        if excess > 0:
            return max(WORST, -excess)
        told = list(zip(self.metrics, trial.values, strict=True))
        qualities = [value for metric, value in told if metric.direction == "maximize"]
        reward = float(np.mean(qualities)) if qualities else 1.0
        for metric, value in told:
            if metric.name in self.targets:
                reward *= max(value / self.targets[metric.name], LEAST_SHARE) ** EXPONENT
        return min(max(reward, WORST), BEST)


def by_completion(finished: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials of the space in the order in which they were finished.

    Networks from outside the space, which have no genes, are left out. To this order later trials
    only append, whatever number of workers there is.
    """
    bred = [trial for trial in finished if trial.params]
    return sorted(bred, key=lambda trial: (trial.datetime_complete, trial.number))
