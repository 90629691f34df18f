"""Basis: what the source devices say about an architecture, as a few groups of numbers.

Every source's latency is split into what the architectures' features explain (its *systematic*
part) and a rest. A new device is taken to be a combination of five groups, whose sizes
`latency_models.transfer.mixture` finds:

- the mean of the sources' systematic parts;
- each source's systematic part;
- the features, each as free as the sources' own coefficients of it are large;
- the coarse features, all equally free, for a device unlike every source;
- the sources' rests: what they share beyond the features, such as networks that a runtime drops.

Letters: N architectures, S source devices, P features of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scale = Literal["ms", "log"]

FLOOR = 0.05  # of a device's median: less, in ms, is a network whose output is constant
RIDGE = 10.0  # in architectures: keeps features that always occur together from growing


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """A block of features, and the sources' coefficients of it.

    Attributes:
        center: (P,) means of the features.
        spread: (P,) their standard deviations.
        coefficients: (P, S) of standardised features, for standardised latencies.
        variances: (P, S) squared coefficients, less what noise alone would give them.
    """

    center: Array
    spread: Array
    coefficients: Array
    variances: Array

    def standardised(self, features: Array) -> Array:
        return (features - self.center) / self.spread


@dataclass(frozen=True, slots=True)
class Basis:
    """How latencies of source devices become groups of numbers.

    Attributes:
        scale: Whether latencies are added up in milliseconds or multiplied.
        medians: (S,) in milliseconds.
        center: (S,) mean of the latencies, in units of the median, on the scale.
        spread: (S,) their standard deviation.
        offsets: (S,) of the systematic parts.
        blocks: Features from coarse to fine.
        covariance: (S, S) of the systematic parts.
        rests: (S,) mean squares of the rests.
    """

    scale: Scale
    medians: Array
    center: Array
    spread: Array
    offsets: Array
    blocks: tuple[FeatureBlock, ...]
    covariance: Array
    rests: Array

    @property
    def num_sources(self) -> int:
        return len(self.medians)

    def without(self, source: int) -> "Basis":
        """Returns the basis as if ``source`` had never been seen."""
        keep = np.arange(self.num_sources) != source
        blocks = tuple(
            replace(b, coefficients=b.coefficients[:, keep], variances=b.variances[:, keep])
            for b in self.blocks
        )
        return Basis(
            self.scale, self.medians[keep], self.center[keep], self.spread[keep],
            self.offsets[keep], blocks, self.covariance[np.ix_(keep, keep)], self.rests[keep],
        )  # fmt: skip

    def groups(self, sources: Array, features: Sequence[Array]) -> tuple[tuple[Array, ...], Array]:
        """Returns the groups, (N, size) each, and (N,) typical latencies in medians.

        Groups have a mean square of about one per architecture. NaN in ``sources`` (N, S), in
        milliseconds, is filled in by the systematic part.
        """
        standard = (to_scale(sources / self.medians, self.scale) - self.center) / self.spread
        blocks = [b.standardised(f) for b, f in zip(self.blocks, features, strict=True)]
        systematic = self.offsets + sum(
            (x @ b.coefficients for b, x in zip(self.blocks, blocks, strict=True)),
            np.zeros_like(standard),
        )
        if not blocks:
            systematic = standard
        known = np.where(np.isnan(standard), systematic, standard)
        typical = from_scale(self.center + self.spread * known, self.scale).mean(1)

        size = np.sqrt(np.diag(self.covariance))
        mean = (systematic / size).mean(1, keepdims=True)
        mean_size = np.sqrt((self.covariance / np.outer(size, size)).mean())
        found = [mean / _or_one(mean_size), systematic / size / np.sqrt(self.num_sources)]
        if blocks:
            free = np.concatenate(
                [
                    x * np.sqrt(b.variances.mean(1))
                    for b, x in zip(self.blocks, blocks, strict=True)
                ],
                axis=1,
            )
            freedom = sum(float(b.variances.mean(1).sum()) for b in self.blocks)
            found.append(free / _or_one(np.sqrt(freedom)))
            found.append(blocks[0] / np.sqrt(blocks[0].shape[1]))
            found.append((known - systematic) / _or_one(np.sqrt(self.rests.sum())))
        return tuple(found), typical


def _or_one(size: float) -> float:
    return size if size > 1e-9 else 1.0


def to_scale(latencies: Array, scale: Scale) -> Array:
    """Returns latencies, in units of a median, on the scale they are modelled on."""
    return np.log(latencies) if scale == "log" else np.maximum(latencies, FLOOR)


def from_scale(values: Array, scale: Scale) -> Array:
    """Returns positive latencies in units of a median."""
    return np.exp(values) if scale == "log" else np.maximum(values, FLOOR)


def learn_basis(sources: Array, features: Sequence[Array], scale: Scale) -> Basis:
    """Returns the basis of (N, S) latencies in milliseconds, NaN where not measured.

    Blocks of ``features`` are fitted one after the other, each to what the blocks before leave.
    """
    medians = np.nanmedian(sources, axis=0)
    values = to_scale(sources / medians, scale)
    center, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    rest = (values - center) / spread
    known = ~np.isnan(rest)
    offsets = np.zeros(len(medians))
    systematic = np.zeros_like(rest)
    blocks = []
    for block in features:
        mean, deviation = block.mean(0), block.std(0)
        deviation = np.where(deviation > 1e-9, deviation, 1.0)
        standard = (block - mean) / deviation
        coefficients = np.empty((block.shape[1], len(medians)))
        variances = np.empty_like(coefficients)
        # Sources that were measured on the same architectures are fitted together.
        for pattern in np.unique(known, axis=1).T:
            same = np.flatnonzero((known == pattern[:, None]).all(0))
            fit, variance, offset = _fit(standard[pattern], rest[np.ix_(pattern, same)])
            coefficients[:, same], variances[:, same] = fit, variance
            offsets[same] += offset
            part = standard @ fit + offset
            systematic[:, same] += part
            rest[:, same] -= part
        blocks.append(FeatureBlock(mean, deviation, coefficients, variances))
    if not blocks:
        systematic, rest = rest, np.zeros_like(rest)
    covariance = np.atleast_2d(np.cov(systematic, rowvar=False))
    covariance[np.diag_indices_from(covariance)] += 1e-12
    rests = np.nanmean(rest**2, axis=0)
    return Basis(scale, medians, center, spread, offsets, tuple(blocks), covariance, rests)


def _fit(features: Array, targets: Array) -> tuple[Array, Array, Array]:
    """Ridge regression: (P, S) coefficients, their squares without noise, (S,) offsets."""
    mean = features.mean(0)
    u, size, vt = np.linalg.svd(features - mean, full_matrices=False)
    kept = size > 1e-6 * max(size[0], 1e-12) if len(size) else np.zeros(0, bool)
    u, size, vt = u[:, kept], size[kept], vt[kept]
    shrunk = size / (size**2 + RIDGE)
    target_mean = targets.mean(0)
    coefficients = vt.T @ (shrunk[:, None] * (u.T @ (targets - target_mean)))
    offsets = target_mean - mean @ coefficients
    left = targets - features @ coefficients - offsets
    freedom = max(len(targets) - float((size * shrunk).sum()) - 1, 1.0)
    noise = (left**2).sum(0) / freedom
    variances = np.maximum(coefficients**2 - (vt.T**2 @ shrunk**2)[:, None] * noise, 0)
    return coefficients, variances, offsets
