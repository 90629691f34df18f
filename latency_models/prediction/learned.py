"""Learned kernel model: sums of amounts of work, corrected by trees, with a doubt.

The time of a kernel is about a sum of a few amounts of work (`TERMS`), whose prices are fitted to
each family of kernels, none of them negative. Trees learn what that leaves in log latency from
kind, amounts, shapes, tiles, remainders and formats. They are grown several times, each time
without a part of the kernels: how far they are off there, and how far they disagree, is how sure
the model is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.prediction.kernel_rows import KernelRows
from latency_models.prediction.roofline import Roofline, fit_roofline
from latency_models.prediction.trees import Trees, grow_trees

Floats = NDArray[np.float64]
FOLDS = 5
ANY = "*"  # the family of kernels whose own was never timed
LEAST_DOUBT = 0.01
SHRINK = 5  # kernels of a family that weigh as much as what is known of all families


@dataclass(frozen=True, slots=True)
class LearnedModel:
    """Prices of work, and trees.

    Attributes:
        prices: Milliseconds of one unit of each term, by family.
        folds: Trees, each grown without some kernels.
        doubts: By family: the error in log latency of kernels that were held out.
        sizes: By kind: the least and largest size of a timed kernel, (2, R).
    """

    roofline: Roofline
    prices: Mapping[str, Floats]
    folds: tuple[Trees, ...]
    doubts: Mapping[str, float]
    sizes: Mapping[str, Floats]

    def predict(self, table: KernelRows) -> tuple[Floats, Floats]:
        """Returns the logarithm of milliseconds, and its doubt (a standard deviation), (S,)."""
        base = self.base(table)
        samples = samples_of(table, base, self.roofline, tuple(self.sizes))
        each = np.stack([trees.predict(samples) for trees in self.folds])
        known = np.array([self.doubts.get(f, self.doubts[ANY]) for f in table.families])
        return base + each.mean(0), np.hypot(known, each.std(0))

    def base(self, table: KernelRows) -> Floats:
        """Returns the logarithm of what the terms cost, (S,)."""
        prices = np.array([self.prices.get(f, self.prices[ANY]) for f in table.families])
        sums = (table.terms * prices.reshape(table.terms.shape)).sum(1)
        return np.log(np.maximum(sums, 0.1 * self.roofline.call_ms))


def size_distances(known: Mapping[str, Floats], table: KernelRows) -> Floats:
    """Returns how far outside the known sizes of its kind each kernel lies, (S,).

    It is the largest distance in logarithms; infinite where no such kernel was timed.
    """

    def distance(kind: str, size: Floats) -> float:
        if kind not in known:
            return np.inf
        least, largest = known[kind]
        return float(np.maximum(np.maximum(least - size, size - largest), 0).max())

    pairs = zip(table.kinds, table.sizes, strict=True)
    return np.array([distance(str(kind), size) for kind, size in pairs])


def fit_learned(
    table: KernelRows, median_ms: Floats, seed: int = 0, num_folds: int = FOLDS
) -> LearnedModel:
    """Returns the model of kernels with known times (S,), in milliseconds.

    Args:
        num_folds: How often trees are grown, each time without one part of the kernels.
    """
    roofline = fit_roofline(table, median_ms)
    prices = {ANY: fit_prices(table.terms, median_ms)}
    for family in np.unique(table.families):
        own = table.families == family
        prices[str(family)] = fit_prices(table.terms[own], median_ms[own])
    flat = LearnedModel(roofline, prices, (), {ANY: 1.0}, {})
    base = flat.base(table)
    sizes = kind_sizes(table)
    samples = samples_of(table, base, roofline, tuple(sizes))
    left = np.log(median_ms) - base
    fold = np.random.default_rng(seed).permutation(len(table)) % num_folds
    folds = tuple(
        grow_trees(samples[fold != k], left[fold != k], seed + k) for k in range(num_folds)
    )
    missed = np.zeros(len(table))
    for k, trees in enumerate(folds):
        missed[fold == k] = left[fold == k] - trees.predict(samples[fold == k])
    return LearnedModel(roofline, prices, folds, family_doubts(table, missed), sizes)


def samples_of(
    table: KernelRows, base: Floats, roofline: Roofline, kinds: tuple[str, ...]
) -> Floats:
    """Returns what trees see of kernels, (S, F)."""
    places = {kind: place for place, kind in enumerate(kinds)}
    kind = np.array([places.get(str(each), -1) for each in table.kinds], np.float64)
    ideal = np.log(roofline.predict(table))
    return np.column_stack([table.features, np.log1p(table.terms), base, ideal, kind])


def fit_prices(terms: Floats, median_ms: Floats) -> Floats:
    """Returns the price of each term, at least 0, that makes relative errors smallest."""
    from scipy.optimize import nnls

    scale = np.maximum(terms.max(0), 1e-12)
    solved, _ = nnls(terms / scale / median_ms[:, None], np.ones(len(terms)))
    prices: Floats = solved / scale
    return prices


def family_doubts(table: KernelRows, missed: Floats) -> dict[str, float]:
    """Returns the root mean square of errors by family, drawn to that of all where few."""
    whole = float(np.mean(np.square(missed)))
    doubts = {ANY: max(2 * whole**0.5, LEAST_DOUBT)}
    for family in np.unique(table.families):
        own = np.square(missed[table.families == family])
        mean = (own.sum() + SHRINK * whole) / (len(own) + SHRINK)
        doubts[str(family)] = max(float(mean) ** 0.5, LEAST_DOUBT)
    return doubts


def kind_sizes(table: KernelRows) -> dict[str, Floats]:
    return {
        str(kind): np.stack([own.min(0), own.max(0)])
        for kind in np.unique(table.kinds)
        if len(own := table.sizes[table.kinds == kind])
    }
