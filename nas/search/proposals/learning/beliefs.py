"""Beliefs: what is known and what is expected of architectures, from the trials of a study.

Everything is in losses: smaller is better, costs by their logarithm.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from nas.problem.metrics import Metric
from nas.search.proposals.learning.covariance import Columns
from nas.search.proposals.learning.losses import (
    LossRegression,
    LossShape,
    likeliest_shape,
    regressed,
)
from nas.search.proposals.learning.transfer import Expert, heeding, prior_of
from nas.search.proposals.learning.warps import Warp, warps_of_costs, warps_of_qualities
from nas.study.names import EPOCHS
from search_spaces.graphs.graph import Graph

Array = NDArray[np.float64]
Known = Callable[[Graph], Mapping[str, float]]
OUTLIERS = 3.0  # losses further above the median than so often the best quarter is below it
FEWEST = 3  # values, to learn anything from
AS_IF_WHOLE = "as if trained whole"  # the shape of what whole trainings teach of others
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
    median, good = np.nanmedian(losses), np.nanquantile(losses, 0.25)
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
        rules: Of how far each constraint that some trial broke is exceeded, by its name.
        shapes: What the likeliest covariances are like, by what they are of.
    """

    objectives: tuple[LossRegression, ...]
    rules: Mapping[str, LossRegression]
    shapes: Mapping[str, LossShape]

    def means(self, rows: Array) -> Array:
        """Returns what half of the belief lies below, at rows of features, (rows, objectives)."""
        return np.stack([each.mean_at(rows) for each in self.objectives], axis=1)

    def doubts(self, rows: Array) -> Array:
        """Returns deviations of what will be found, which is noisy, (rows, objectives)."""
        posteriors = [each.posterior(rows) for each in self.objectives]
        return np.stack([each.deviation_found for each in posteriors], axis=1)

    def chances(self, rows: Array, kept: Container[str] = ()) -> Array:
        """Returns how likely architectures keep all constraints, 0..1.

        Args:
            kept: Constraints that they are known to keep.
        """
        chances = np.ones(len(rows))
        for rule in (rule for name, rule in self.rules.items() if name not in kept):
            posterior = rule.posterior(rows)
            chances *= ndtr(-posterior.mean / posterior.deviation_found)
        return chances

    def believing(self, rows: Array) -> "Beliefs":
        """Returns the beliefs as if these architectures had been found to be as expected."""
        objectives = tuple(each.believing(rows) for each in self.objectives)
        return Beliefs(objectives, self.rules, self.shapes)


@dataclass(slots=True)
class Lessons:
    """Genes of finished trials, and the shapes of what was learned from them.

    Attributes:
        columns: Which scale each column has the scale of.
        rows: Features of their genes.
        shapes: Those that are known already, and then all.
        experts: What earlier runs say, by what it is of.
    """

    columns: Columns
    rows: Array
    shapes: dict[str, LossShape]
    experts: Mapping[str, Sequence[Expert]] = field(default_factory=dict)

    def learned(
        self, name: str, losses: Array, has: NDArray[np.bool_], *warps: Warp
    ) -> LossRegression:
        """Returns the regression of losses that some trials have."""
        rows, experts = self.rows[has], self.experts.get(name, ())
        if name not in self.shapes:
            tried = (warps,) if warps else ()
            shape = likeliest_shape(self.columns, rows, losses[has], *tried)
            self.shapes[name] = heeding(shape, self.columns, rows, losses[has], experts)
        prior = prior_of(self.shapes[name], experts)
        return regressed(self.shapes[name], self.columns, rows, losses[has], prior)


def learn(
    trials: Sequence[FrozenTrial],
    columns: Columns,
    rows: Array,
    losses: Array,
    metrics: Sequence[Metric],
    shapes: Mapping[str, LossShape] | None = None,
    experts: Mapping[str, Sequence[Expert]] | None = None,
) -> Beliefs:
    """Returns what finished trials teach.

    Args:
        columns: Which scale each column of ``rows`` has.
        rows: Features of their genes.
        losses: What they were, NaN where that was not had.
        shapes: What is known of shapes already; the others are looked for.
        experts: What earlier runs say of losses, by metric.

    Raises:
        ValueError: If they teach too little of an objective.
        LinAlgError: If a regression cannot be fitted.
    """
    lessons = Lessons(columns, rows, dict(shapes or {}), experts or {})
    halved = fidelities(trials)
    fitted = []
    for column, metric in zip(losses.T, metrics, strict=True):
        has = np.isfinite(column)
        if has.sum() < FEWEST or np.ptp(column[has]) == 0:
            raise ValueError(f"{metric.name} is the same, or unknown, in all trials")
        if metric.is_quality and (halved[has] > 0).any():
            column = as_if_whole(lessons, column, halved)
        if metric.direction == "maximize":
            column = without_outliers(column)
        find = warps_of_qualities if metric.direction == "maximize" else warps_of_costs
        fitted.append(lessons.learned(metric.name, column, has, *find(column[has])))
    return Beliefs(tuple(fitted), learn_rules(trials, lessons), lessons.shapes)


def as_if_whole(lessons: Lessons, losses: Array, halved: Array) -> Array:
    """Returns losses of trainings that were ended early, less what a halving costs on average.

    That is learned from those that were trained whole, by what is expected of the others.
    """
    has = np.isfinite(losses)
    whole, part = has & (halved == 0), has & (halved > 0)
    if whole.sum() < FEWEST or not part.any() or np.ptp(losses[whole]) == 0:
        return losses
    expected = lessons.learned(AS_IF_WHOLE, losses, whole).mean_at(lessons.rows[part])
    lost = float(np.median((losses[part] - expected) / halved[part]))
    return losses - np.maximum(lost, 0) * halved


def learn_rules(trials: Sequence[FrozenTrial], lessons: Lessons) -> dict[str, LossRegression]:
    found = {}
    for name in sorted({name for t in trials for name in t.constraints} - {FULLY_TRAINED}):
        absent = -1.0 if name == RUNS else np.nan  # whatever runs is told nothing of it
        excess = np.array([t.constraints.get(name, absent) for t in trials])
        has = np.isfinite(excess)
        if has.sum() >= FEWEST and (excess[has] > 0).any() and np.ptp(excess[has]) > 0:
            found[name] = lessons.learned(name, np.clip(excess, -1.0, 1.0), has)
    return found
