"""Gains: for how long the hypervolume of a study has not grown, and whether that is enough.

Trials count in the order in which they ended, whoever ran them, so drivers and a search that is
resumed see the same.
"""

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from nas.problem.pareto import last_gain, reference_point
from nas.problem.records import RunConfig
from nas.study.names import BASELINE, HASH


def ended_architectures(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the finished trials in the order in which they ended, each architecture once."""
    ended = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    first: dict[str, FrozenTrial] = {}
    for trial in sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number)):
        first.setdefault(trial.user_attrs[HASH], trial)
    return list(first.values())


def without_gain(config: RunConfig, trials: Sequence[FrozenTrial]) -> int | None:
    """Returns how many architectures were evaluated since the hypervolume last grew.

    It is that of the report: of the feasible ones, up to the configured reference or the worst
    feasible values. All that were searched count, also those that break a constraint or whose
    training was stopped early; repeats do not, nor do baselines, which may make it grow
    themselves. The first feasible one counts as a gain; None before there is one.
    """
    ended = ended_architectures(trials)
    kept = [place for place, trial in enumerate(ended) if is_feasible(trial)]
    if not kept:
        return None
    points = np.array([ended[place].values for place in kept], dtype=np.float64)
    corner = reference_point(points, config.reference, config.objectives)
    last = kept[last_gain(points, corner, config.objectives) or 0]
    return sum(BASELINE not in trial.user_attrs for trial in ended[last + 1 :])


def is_feasible(trial: FrozenTrial) -> bool:
    return violation(trial) <= 0


def violation(trial: FrozenTrial) -> float:
    """Returns by how much a trial exceeds its constraints together; 0 where it keeps all."""
    return sum(max(0.0, excess) for excess in trial.constraints.values())


def why_enough(config: RunConfig, trials: Sequence[FrozenTrial]) -> str:
    """Returns why a search has had enough, and how to go on, in one line; "" where it has not."""
    rule = config.search.stop
    if rule is None:
        return ""
    count = without_gain(config, trials)
    if count is None or count < rule.no_gain_in:
        return ""
    return (
        f"the hypervolume has not grown in the last {count} architectures (search.stop.no_gain_in "
        f"is {rule.no_gain_in}); to go on: --resume --set search.stop=null, or a larger no_gain_in"
    )
