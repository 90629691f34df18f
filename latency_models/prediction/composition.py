"""Composition: a network's latency from its kernels', and intervals that hold on unseen networks.

A network takes about the sum of its kernels, plus something per kernel, plus something by itself.
How much each family of kernels counts in a network (caches, pipelines and a runtime that fuses
make it differ from 1) is fitted on whole networks, drawn to 1 as far as they do not say otherwise.

The interval is conformal: errors of networks that were held out, each over its own doubt, have a
quantile; an unseen network's error is below it with the wanted probability.

*Source:* Barber, Candes, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals
of Statistics 2021, https://doi.org/10.1214/20-AOS1965, section 3 (CV+); Lei et al.,
"Distribution-free predictive inference for regression", JASA 2018,
https://doi.org/10.1080/01621459.2017.1307116, section 5.2 (residuals over a scale).

*Differs from the papers:* held-out errors are pooled around the prediction of the one final fit,
instead of a quantile over the predictions of all folds.

Letters: N networks, G families.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FOLDS = 10
PULLS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # how strongly shares are drawn to 1
LEAST_NETWORKS = 8  # below, families count by 1, and nothing is held out
LEAST_SPREAD = 0.005
MEDIAN_ERROR = 0.6745  # of a normal distribution, in standard deviations


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What networks are made of, by the kernel model.

    Attributes:
        sums_ms: (N, G): the milliseconds of each family's kernels.
        counts: (N,): how many kernels.
        variances: (N,): of the logarithm of the sum, as far as kernels are doubtful.
    """

    sums_ms: Floats
    counts: Floats
    variances: Floats

    def rows(self, where: NDArray[np.bool_]) -> "Parts":
        return Parts(self.sums_ms[where], self.counts[where], self.variances[where])

    def with_rows(self, other: "Parts") -> "Parts":
        return Parts(
            np.concatenate([self.sums_ms, other.sums_ms]),
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.variances, other.variances]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """How kernels become a network.

    Attributes:
        shares: (G,): how much each family's milliseconds count.
        per_kernel_ms: For each kernel.
        constant_ms: For the network.
        spread: Standard deviation in logarithms that kernels do not explain.
        scores: Held-out errors over their doubts, ascending.
        errors: Of held-out networks, predicted over measured less 1, in their order.
        pull: How strongly shares were drawn to 1.
    """

    shares: Floats
    per_kernel_ms: float
    constant_ms: float
    spread: float
    scores: Floats
    errors: Floats
    pull: float

    def predict(self, parts: Parts) -> Floats:
        """Returns the milliseconds of each network, (N,)."""
        whole = parts.sums_ms @ self.shares + self.per_kernel_ms * parts.counts
        least = 0.2 * parts.sums_ms.sum(1)
        return np.maximum(whole + self.constant_ms, least)

    def doubt(self, parts: Parts) -> Floats:
        """Returns the standard deviation of the logarithm of each prediction, (N,)."""
        return np.sqrt(self.spread**2 + parts.variances)

    def width(self, probability: float) -> float:
        """Returns by how many doubts a held-out error is exceeded with 1 - probability."""
        if not len(self.scores):
            return 3.0  # nothing is known but the doubts: three standard deviations
        rank = int(np.ceil((len(self.scores) + 1) * probability))
        return float(self.scores[min(rank, len(self.scores)) - 1])


def fit_composition(parts: Parts, median_ms: Floats) -> Composition:
    """Returns the composition of networks (N,) with known latencies, in milliseconds.

    Networks come in the order in which they were measured.
    """
    number, families = len(median_ms), parts.sums_ms.shape[1]
    if number < LEAST_NETWORKS:
        none = np.zeros(0)
        known = Composition(np.ones(families), 0.0, 0.0, 0.1, none, none, np.inf)
        if not number:
            return known
        factor = float(np.exp(np.median(np.log(median_ms / known.predict(parts)))))
        return Composition(factor * np.ones(families), 0.0, 0.0, 0.1, none, none, np.inf)
    folds = min(FOLDS, number)
    fold = np.arange(number) * folds // number  # stretches of time: a device drifts between them
    tried = {pull: held_out(parts, median_ms, fold, pull) for pull in PULLS}
    pull = min(PULLS, key=lambda each: float(np.mean(np.abs(tried[each]))))
    solved = solve(parts, median_ms, pull)
    missed = tried[pull]
    spread = find_spread(np.abs(missed), parts.variances)
    scores = np.sort(np.abs(missed) / np.sqrt(spread**2 + parts.variances))
    per_kernel_ms, constant_ms = float(solved[-2]), float(solved[-1])
    errors = np.exp(-missed) - 1
    return Composition(solved[:-2], per_kernel_ms, constant_ms, spread, scores, errors, pull)


def find_spread(missed: Floats, variances: Floats) -> float:
    """Returns the standard deviation beside known variances that explains half of the errors.

    It is the one with which the median of errors over their doubt is a normal distribution's.
    """
    low, high = LEAST_SPREAD, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if np.median(missed / np.sqrt(middle**2 + variances)) > MEDIAN_ERROR:
            low = middle
        else:
            high = middle
    return low


def held_out(parts: Parts, median_ms: Floats, fold: NDArray[np.intp], pull: float) -> Floats:
    """Returns the error in log latency of each network, predicted without it, (N,)."""
    missed = np.zeros(len(median_ms))
    for k in np.unique(fold):
        out = fold == k
        solved = solve(parts.rows(~out), median_ms[~out], pull)
        none = np.zeros(0)
        whole = Composition(solved[:-2], solved[-2], solved[-1], 0.0, none, none, pull)
        missed[out] = np.log(median_ms[out]) - np.log(whole.predict(parts.rows(out)))
    return missed


def solve(parts: Parts, median_ms: Floats, pull: float) -> Floats:
    """Returns shares (G,), then milliseconds per kernel and by itself, of least relative errors.

    No share is negative: kernels that a runtime fuses away count nothing.

    Large errors count by their size and not its square (weights of three rounds).
    """
    columns = np.column_stack([parts.sums_ms, parts.counts, np.ones(len(median_ms))])
    columns = columns / median_ms[:, None]
    families = parts.sums_ms.shape[1]
    least, step = float(median_ms.min()), float(np.median(median_ms / parts.counts))
    strength = np.full(families + 2, pull)
    strength[families] = 1e-3 * pull / step**2
    strength[families + 1] = 1e-3 * pull / least**2
    wanted = np.concatenate([np.ones(families), [0.0, 0.0]])
    weight = np.ones(len(median_ms))
    solved = wanted
    for _ in range(4):
        weighted = columns * weight[:, None]
        left = weighted.T @ columns + np.diag(strength)
        solved = solve_shares(left, weighted.sum(0) + strength * wanted, families)
        errors = np.abs(columns @ solved - 1)
        typical = max(float(np.median(errors)), 1e-4)
        weight = 1 / np.maximum(1.0, errors / (3 * typical))
    return solved


def solve_shares(left: Floats, right: Floats, families: int) -> Floats:
    """Returns the solution whose shares, which come first, are 0 where they would be negative."""
    free = np.ones(len(right), np.bool_)
    while True:
        solved = np.zeros(len(right))
        solved[free] = np.linalg.solve(left[np.ix_(free, free)], right[free])
        negative = solved[:families] < 0
        if not negative.any():
            return solved
        free[:families] &= ~negative
