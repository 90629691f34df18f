"""Effects: which genes, and which pairs of genes, a surrogate believes to matter.

What it believes of random architectures of the space varies; a gene explains the part of that
variance that lies between its values, a pair what lies between combinations of two and is not the
sum of the single ones. A gene that only some architectures have (a setting of one block) counts
among those that have it, by their share of all: whether it is there is the choice of the gene
above it, which gets what that explains.

Source: Hoos, Hutter, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance"
(functional ANOVA), ICML 2014, http://proceedings.mlr.press/v32/hutter14.html.
Differs from the paper: the surrogate is a Gaussian process; variances are estimated from a sample
of the space, less what as many random groups would differ by; genes may be conditional.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

import numpy as np
from numpy.typing import NDArray

from nas.problem.metrics import Metric
from nas.search.proposals.insight.learned_run import LearnedRun, value_of_loss
from nas.search.proposals.learning.gene_codes import ABSENT, Codes, GeneCodes
from search_spaces.building.choice import Value
from search_spaces.space.space import sample

SAMPLES = 400  # of the space
MOST_GENES = 40  # whose pairs are looked at
LEAST_SHARE = 0.01  # of the variance, for a gene or a pair to be named
SURE = 3.0  # deviations of what chance makes of a pair, for it to be named
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ValueMean:
    """What is believed on average of architectures in which a gene has a value.

    Attributes:
        mean: In the metric's units; of costs the geometric mean.
    """

    value: Value
    mean: float


@dataclass(frozen=True, slots=True)
class GeneEffect:
    """What a gene explains by itself.

    Attributes:
        share: Of the variance, 0..1.
        values: What each value does, the best first.
    """

    gene: str
    share: float
    values: tuple[ValueMean, ...]


@dataclass(frozen=True, slots=True)
class PairEffect:
    """What two genes explain together beyond what each does by itself."""

    genes: tuple[str, str]
    share: float


@dataclass(frozen=True, slots=True)
class Effects:
    """What matters for one objective, the most first.

    Attributes:
        samples: Random architectures of the space that this was told by.
    """

    metric: Metric
    genes: tuple[GeneEffect, ...]
    pairs: tuple[PairEffect, ...]
    samples: int


def effects(learned: LearnedRun, seed: int = 0) -> tuple[Effects, ...]:
    """Returns what matters for each objective that graphs do not tell."""
    planner = learned.planner
    rng = Random(seed)
    drawn = [sample(planner.sampler.space, rng) for _ in range(SAMPLES)]
    codes = planner.codes.encode([dict(network.genes) for network in drawn])
    hot = planner.codes.features(codes)
    return tuple(
        effects_of(metric, planner.codes, codes, belief.mean_at(hot))
        for at, (metric, belief) in enumerate(
            zip(learned.results.metrics, planner.beliefs.objectives, strict=True)
        )
        if at not in planner.exact
    )


def effects_of(metric: Metric, genes: GeneCodes, codes: Codes, means: Array) -> Effects:
    """Returns what explains the losses that are believed of architectures, given as codes."""
    names = list(genes.values)
    total = float(means.var())
    if total <= 0:
        return Effects(metric, (), (), len(means))
    shares = [float(between(codes[:, at], means) / total) for at in range(len(names))]
    order = sorted(range(len(names)), key=lambda at: -shares[at])
    single = tuple(
        GeneEffect(
            names[at],
            shares[at],
            values_of(metric, genes.values[names[at]], codes[:, at], means),
        )
        for at in order
        if shares[at] >= LEAST_SHARE
    )
    left = means - means.mean()  # what single genes explain would only blur the pairs
    for at in order[: len(single)]:
        left = without_main(codes[:, at], left)
    pairs = [
        PairEffect((names[one], names[other]), share)
        for one, other in combinations(sorted(order[:MOST_GENES]), 2)
        if (share := float(together(codes[:, one], codes[:, other], left) / total)) >= LEAST_SHARE
    ]
    pairs.sort(key=lambda pair: -pair.share)
    return Effects(metric, single, tuple(pairs), len(means))


def values_of(
    metric: Metric, values: Sequence[Value], column: Codes, means: Array
) -> tuple[ValueMean, ...]:
    found = [
        (float(means[column == code].mean()), value)
        for code, value in enumerate(values)
        if (column == code).any()
    ]
    found.sort(key=lambda pair: pair[0])
    return tuple(ValueMean(v, float(value_of_loss(metric, np.array(m)))) for m, v in found)


def between(column: Codes, means: Array) -> float:
    """Returns the variance between the values of a gene, among all that have it, by their share.

    That random groups of these sizes would differ too is taken off (the analysis of variance).
    """
    has = column != ABSENT
    groups, found = np.unique(column[has], return_inverse=True)[1], means[has]
    return explained(groups, found) * has.mean() if len(found) else 0.0


def without_main(column: Codes, values: Array) -> Array:
    """Returns values less the mean of each gene's value, where the gene is there."""
    has = column != ABSENT
    left = values.copy()
    groups = np.unique(column[has], return_inverse=True)[1]
    left[has] += values[has].mean() - group_means(groups, values[has])
    return left


def together(one: Codes, other: Codes, means: Array) -> float:
    """Returns the variance between combinations of two genes' values that their sums leave.

    0 where chance alone might make as much of it.
    """
    both = (one != ABSENT) & (other != ABSENT)
    if not both.any():
        return 0.0
    first = np.unique(one[both], return_inverse=True)[1]
    second = np.unique(other[both], return_inverse=True)[1]
    if min(first.max(), second.max()) < 1:
        return 0.0  # one of them has a single value here
    found = means[both]
    left = found - group_means(first, found) - group_means(second, found) + found.mean()
    cells = np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]
    used = first.max() + second.max() + 1  # what the two alone have fitted
    return explained(cells, left, int(used), SURE) * both.mean()


def group_means(groups: NDArray[np.int_], values: Array) -> Array:
    """Returns for each value the mean of its group."""
    sums = np.bincount(groups, values)
    found: Array = (sums / np.bincount(groups))[groups]
    return found


def explained(groups: NDArray[np.int_], values: Array, used: int = 1, sure: float = 0.0) -> float:
    """Returns the variance between groups, less what chance alone makes of it; 0 at least.

    Args:
        used: Degrees of freedom that were taken off the values before, their mean included.
        sure: By how many deviations it must be above what chance makes, not to count as 0.
    """
    count, size = int(groups.max()) + 1, len(values)
    free = size - count
    if count <= used or free < 1:
        return 0.0
    means = group_means(groups, values)
    inside = float(((values - means) ** 2).sum()) / free
    across = float(((means - values.mean()) ** 2).sum())
    above = across - (count - used) * inside
    return above / size if above > sure * np.sqrt(2 * (count - used)) * inside else 0.0
