"""Beliefs: what is known and what is expected of architectures, from the trials of a study.

Everything is in losses: smaller is better, costs by their logarithm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from nas.problem.metrics import Metric
from nas.search.proposals.learning.regression import Regression, fit
from nas.study.names import EPOCHS
from search_spaces.graphs.graph import Graph

Array = NDArray[np.float64]
Known = Callable[[Graph], Mapping[str, float]]
OUTLIERS = 3.0  # losses further above the median than so often the best quarter is below it
FEWEST = 3  # values, to learn anything from
RUNS, FULLY_TRAINED = "runs", "fully trained"  # rules that `told_constraints` adds


def losses_of(trials: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> Array:
    """Returns a row of losses for each trial, NaN where a number was not had."""
    rows = np.full((len(trials), len(metrics)), np.nan)
    for at, trial in enumerate(trials):
        if trial.state == TrialState.COMPLETE:
            told = zip(trial.values, metrics, strict=True)
            rows[at] = [loss(value, metric, trial) for value, metric in told]
    return rows


def loss(value: float, metric: Metric, trial: FrozenTrial) -> float:
    """Returns a value as a loss; NaN for a stand-in of what was not had, and what is no number."""
    broken = any(excess > 0 for excess in trial.constraints.values())
    untrained = metric.is_quality and trial.user_attrs.get(EPOCHS) == 0
    if not np.isfinite(value) or untrained or (broken and value == metric.worst):
        return np.nan
    return as_loss(value, metric)


def as_loss(value: float, metric: Metric) -> float:
    """Returns a value so that smaller is better; NaN for a cost that has no logarithm."""
    if metric.direction == "maximize":
        return -value
    return float(np.log(value)) if value > 0 else np.nan


def without_outliers(losses: Array) -> Array:
    """Returns losses, the very bad among them less so: how bad they are teaches nothing.

    Networks that learn nothing would else decide how far apart all others are.
    """
    median, good = np.median(losses), np.quantile(losses, 0.25)
    found: Array = (
        np.minimum(losses, median + OUTLIERS * (median - good)) if good < median else losses
    )
    return found


def fidelities(trials: Sequence[FrozenTrial]) -> Array:
    """Returns how many times each training was halved: 0 where it was whole."""
    epochs = np.array([max(float(t.user_attrs.get(EPOCHS) or 0), 0) for t in trials])
    most = epochs.max(initial=0)
    return np.log2(most / np.where(epochs > 0, epochs, max(most, 1))) if most else epochs


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Regressions of what architectures are.

    Attributes:
        objectives: Of each loss.
        rules: Of how far each constraint that some trial broke is exceeded.
    """

    objectives: tuple[Regression, ...]
    rules: tuple[Regression, ...]

    def at(self, rows: Array) -> tuple[Array, Array]:
        """Returns means and deviations of the losses at one-hot rows, (rows, objectives)."""
        found = [each.at(rows) for each in self.objectives]
        return np.stack([m for m, _ in found], axis=1), np.stack([d for _, d in found], axis=1)

    def chances(self, rows: Array) -> Array:
        """Returns how likely architectures keep all constraints, 0..1."""
        chances = np.ones(len(rows))
        for rule in self.rules:
            mean, deviation = rule.at(rows)
            chances *= ndtr(-mean / np.hypot(deviation, np.sqrt(rule.kernel.noise) * rule.scale))
        return chances

    def believing(self, rows: Array) -> "Beliefs":
        """Returns the beliefs as if these architectures had been found to be as expected."""
        return Beliefs(tuple(each.believing(rows) for each in self.objectives), self.rules)


def learn(
    trials: Sequence[FrozenTrial], rows: Array, losses: Array, metrics: Sequence[Metric]
) -> Beliefs:
    """Returns what finished trials teach.

    Args:
        rows: Their genes, one-hot.
        losses: What they were, NaN where that was not had.

    Raises:
        ValueError: If they teach too little of an objective.
        LinAlgError: If a regression cannot be fitted.
    """
    halved = fidelities(trials)
    fitted = []
    for column, metric in zip(losses.T, metrics, strict=True):
        has = np.isfinite(column)
        values = column[has]
        if len(values) < FEWEST or np.ptp(values) == 0:
            raise ValueError(f"{metric.name} is the same, or unknown, in all trials")
        if metric.is_quality and (halved[has] > 0).any():
            values = as_if_whole(rows[has], values, halved[has])
        if metric.direction == "maximize":
            values = without_outliers(values)
        fitted.append(fit(rows[has], values))
    return Beliefs(tuple(fitted), tuple(learn_rules(trials, rows)))


def as_if_whole(rows: Array, values: Array, halved: Array) -> Array:
    """Returns losses of trainings that were ended early, less what a halving costs on average.

    That is learned from those that were trained whole, by what is expected of the others.
    """
    whole = halved == 0
    if whole.sum() < FEWEST or whole.all() or np.ptp(values[whole]) == 0:
        return values
    expected = fit(rows[whole], values[whole]).mean_at(rows[~whole])
    lost = float(np.median((values[~whole] - expected) / halved[~whole]))
    return values - np.maximum(lost, 0) * halved


def learn_rules(trials: Sequence[FrozenTrial], rows: Array) -> list[Regression]:
    found = []
    for name in sorted({name for t in trials for name in t.constraints} - {FULLY_TRAINED}):
        absent = -1.0 if name == RUNS else np.nan  # whatever runs is told nothing of it
        excess = np.array([t.constraints.get(name, absent) for t in trials])
        has = np.isfinite(excess)
        if has.sum() >= FEWEST and (excess[has] > 0).any() and np.ptp(excess[has]) > 0:
            found.append(fit(rows[has], np.clip(excess[has], -1.0, 1.0)))
    return found
