"""Hindsight: how good a surrogate would have been at trials before they ran.

The trials of a run are cut where they were searched; at each cut a surrogate learns from those
that had ended by then and tells those up to the next. No trial is told by what came of it, so this
is what a search that goes on may expect, whichever sampler proposed them. Doubts are as wide as
the cuts before showed that they have to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from scipy.stats import rankdata

from nas.problem.metrics import Metric
from nas.problem.records import RunConfig
from nas.search.proposals.insight.learned_run import LEAST, value_of_loss
from nas.search.proposals.insight.recalibration import doubts_times, times_before
from nas.search.proposals.learning.beliefs import FULLY_TRAINED, learn, losses_of
from nas.search.proposals.learning.gene_codes import GeneCodes
from nas.study.gains import ended_architectures
from nas.study.results import RunResults

CUTS = 12  # surrogates that are fitted
FEWEST = 5  # trials told, to rank them
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What was told of one objective before it was found.

    Attributes:
        trials: Numbers of the trials.
        found, told: Values, in the metric's units.
        low, high: One doubt to each side.
        nearest: What the trials before had found for the network with most genes alike.
        distances: How many doubts the found value is off.
        times: What doubts of networks that were not tried are to be multiplied by.
    """

    metric: Metric
    trials: tuple[int, ...]
    found: Array
    told: Array
    low: Array
    high: Array
    nearest: Array
    distances: Array
    times: float

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of told and found; None where one of them is the same in all."""
        return spearman(self.told, self.found)

    @property
    def nearest_rank_correlation(self) -> float | None:
        """Spearman's of who takes the nearest network's value for granted."""
        return spearman(self.nearest, self.found)

    def within(self, doubts: float) -> float:
        """Returns the share of trials that are off by so many doubts at most."""
        return float((self.distances <= doubts).mean())


def spearman(one: Array, other: Array) -> float | None:
    """Returns the correlation of ranks, equal values sharing theirs; None for a constant.

    Source: Spearman, "The proof and measurement of association between two things", 1904.
    """
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def hindsight(results: RunResults) -> tuple[Hindsight, ...]:
    """Returns a row for each objective that graphs do not tell, if enough trials had a number."""
    trials = [trial for trial in ended_architectures(results.asked) if trial.params]
    config, metrics = results.config, results.metrics
    codes = GeneCodes.of(trials)
    coded = codes.encode([trial.params for trial in trials])
    rows, hot = codes.features(coded), codes.one_hot(coded)
    found = losses_of(trials, metrics)
    told, spread, nearest = (np.full(found.shape, np.nan) for _ in range(3))
    cuts = np.zeros(len(trials), np.int64)
    for start, end in blocks(len(trials), max(config.search.initial, LEAST)):
        before, here = slice(0, start), slice(start, end)
        try:
            beliefs = learn(trials[before], codes.columns, rows[before], found[before], metrics)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            continue  # too little to tell these by
        cuts[here] = start
        told[here] = beliefs.means(rows[here])
        spread[here] = beliefs.doubts(rows[here])
        nearest[here] = of_nearest(hot[here], hot[before], found[before])
    whole = np.array(
        [trial.constraints.get(FULLY_TRAINED, 0) <= 0 for trial in trials], dtype=bool
    )
    return tuple(
        row
        for at, metric in enumerate(metrics)
        if is_learned(metric, config)
        and (row := of_metric(metric, trials, found, told, spread, nearest, at, whole, cuts))
        is not None
    )


def blocks(count: int, first: int) -> list[tuple[int, int]]:
    """Returns from where to where trials are told by those before: few blocks of equal length.

    >>> blocks(50, 20)[:2], len(blocks(50, 20)), blocks(21, 20), blocks(20, 20)
    ([(20, 22), (22, 25)], 12, [(20, 21)], [])
    """
    edges = np.unique(np.linspace(first, max(first, count), CUTS + 1).astype(int))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def is_learned(metric: Metric, config: RunConfig) -> bool:
    """Whether a metric is found out, and not told by a graph or a latency model."""
    if metric.phase == "latency":
        return config.latency.source != "predicted"
    return metric.phase != "cost"


def of_nearest(rows: Array, before: Array, found: Array) -> Array:
    """Returns what was found for the networks before that have most genes alike, of each row.

    The mean of those that are equally near; NaN in a column where none of them has a number.
    """
    sizes = np.sqrt(np.maximum(np.outer(rows.sum(axis=1), before.sum(axis=1)), 1e-12))
    alike = (rows @ before.T) / sizes
    nearest = np.empty((len(rows), found.shape[1]))
    for column in range(found.shape[1]):
        known = np.isfinite(found[:, column])
        if not known.any():
            nearest[:, column] = np.nan
            continue
        share = alike[:, known]
        best = share >= share.max(axis=1, keepdims=True) - 1e-9
        nearest[:, column] = best @ found[known, column] / best.sum(axis=1)
    return nearest


def of_metric(
    metric: Metric,
    trials: Sequence[FrozenTrial],
    found: Array,
    told: Array,
    spread: Array,
    nearest: Array,
    at: int,
    whole: NDArray[np.bool_],
    cuts: NDArray[np.int64],
) -> Hindsight | None:
    """Returns one objective's row; None where too few trials have both.

    Args:
        whole: Which trials were trained to the end, as all are told to be.
        cuts: After how many trials each was told.
    """
    kept = np.isfinite(found[:, at]) & np.isfinite(told[:, at])
    if metric.is_quality:
        kept &= whole
    if kept.sum() < FEWEST:
        return None
    loss, mean, believed = found[kept, at], told[kept, at], spread[kept, at]
    distances = np.abs(loss - mean) / np.maximum(believed, 1e-12)
    times = times_before(distances, cuts[kept])
    doubt = times * believed
    ends = (value_of_loss(metric, mean - doubt), value_of_loss(metric, mean + doubt))
    return Hindsight(
        metric,
        tuple(trial.number for trial, is_kept in zip(trials, kept, strict=True) if is_kept),
        value_of_loss(metric, loss),
        value_of_loss(metric, mean),
        np.minimum(*ends),
        np.maximum(*ends),
        value_of_loss(metric, nearest[kept, at]),
        distances / times,
        doubts_times(distances),
    )
