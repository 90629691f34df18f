"""Mixture: a Gaussian process averaged over the sizes of its groups and its noise.

With a few measurements no single choice of sizes can be trusted. Many are drawn once and for all,
and each counts by how probable it makes what was measured (Bayesian model averaging), times how
probable it made the other devices when each of them stood in for the new one.

Letters: T draws, J groups, K measured architectures, N architectures asked for.

*Source:* Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006,
https://gaussianprocess.org/gpml, sections 2.2, 5.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Groups = Sequence[Array]

NUM_DRAWS = 128
SIZES = (0.03, 1.0)  # of a group, relative to the signal; half of the draws leave it out
NOISES = (0.02, 0.4)  # standard deviation, relative to the signal
OFFSET = 25.0  # variance of the constant: a device's mean is free
SHAPE, RATE = 1.0, 0.05  # inverse gamma prior of the signal's variance
UNIFORM = 0.1  # part of the prior that the other devices do not decide
FREEDOM = 4.0  # of Student's t: how readily a measurement is doubted
ROUNDS = 3
MAX_KEPT = 64  # draws kept for predicting
CHUNK = 4096  # architectures predicted at once


@dataclass(frozen=True, slots=True)
class Draws:
    """Sizes that the mixture averages over.

    Attributes:
        variances: (T, J) of the groups.
        noises: (T,) variances of the noise.
        relative: (T,) 1 where noise grows with the latency, 0 where all have the same.
        weights: (T,) how much each counts; they sum to one.
    """

    variances: Array
    noises: Array
    relative: Array
    weights: Array

    def weighted(self, weights: Array, most: int | None = None) -> "Draws":
        """Returns the draws with other weights, only the ``most`` heaviest of them."""
        kept = np.sort(np.argsort(-weights, kind="stable")[:most])
        weights = weights[kept] / weights[kept].sum()
        return Draws(self.variances[kept], self.noises[kept], self.relative[kept], weights)


class Normal(NamedTuple):
    """(N,) means and standard deviations."""

    mean: Array
    deviation: Array


def draw(num_groups: int, relative: bool) -> Draws:
    """Returns the same equally weighted draws for the same arguments."""
    rng = np.random.default_rng(0)
    places = rng.random((NUM_DRAWS, num_groups + 1))
    absent = rng.random((NUM_DRAWS, num_groups)) < 0.5
    low, high = np.log([SIZES, NOISES]).T
    which = np.array([0] * num_groups + [1])
    sizes = np.exp(2 * (low[which] + places * (high - low)[which]))
    sizes[:, :num_groups][absent] = 0
    kinds = 2 if relative else 1  # both kinds of noise with every size
    sizes = np.tile(sizes, (kinds, 1))
    kind = np.repeat(np.arange(kinds, dtype=np.float64), NUM_DRAWS)
    return Draws(sizes[:, :-1], sizes[:, -1], kind, np.full(len(sizes), 1 / len(sizes)))


def products(left: Groups, right: Groups) -> Array:
    """Returns (J, N, K) inner products of every group."""
    return np.stack([a @ b.T for a, b in zip(left, right, strict=True)])


def noise_levels(draws: Draws, typical: Array) -> Array:
    """Returns (T, N) variances of the noise at architectures of ``typical`` latencies."""
    grows = draws.relative[:, None]
    return draws.noises[:, None] * (grows * typical**2 + 1 - grows)


def _covariance(draws: Draws, gram: Array, typical: Array, doubt: Array) -> Array:
    found = np.tensordot(draws.variances, gram, 1) + OFFSET
    index = np.arange(gram.shape[1])
    found[:, index, index] += noise_levels(draws, typical) * doubt
    return found


def log_evidence(
    draws: Draws, gram: Array, typical: Array, values: Array, doubt: Array | None = None
) -> Array:
    """Returns (T,) log probabilities of (K,) ``values``, but for a constant."""
    doubt = np.ones(len(values)) if doubt is None else doubt
    covariance = _covariance(draws, gram, typical, doubt)
    _, log_det = np.linalg.slogdet(covariance)
    quadratic = np.linalg.solve(covariance, values[:, None])[:, :, 0] @ values
    return -log_det / 2 - (len(values) / 2 + SHAPE) * np.log(RATE + quadratic / 2)


def probabilities(log_weights: Array) -> Array:
    """Returns weights that sum to one over the last axis."""
    weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def prior_from(evidences: Array) -> Array:
    """Returns (T,) prior weights from (S, T) log evidences of S other devices.

    Every device has one vote: a new one may be like any of them, or (a little) like none.
    """
    num_draws = evidences.shape[1]
    if not len(evidences):
        return np.full(num_draws, 1 / num_draws)
    return (1 - UNIFORM) * probabilities(evidences).mean(0) + UNIFORM / num_draws


class Posterior:
    """The mixture after K measurements.

    Args:
        draws: Sizes with their posterior weights.
        groups: (K, size) of the measured architectures.
        typical: (K,) their typical latencies.
        values: (K,) measured, on the scale of the model.
        doubt: (K,) how many times the usual noise each measurement has.
    """

    def __init__(
        self, draws: Draws, groups: Groups, typical: Array, values: Array, doubt: Array
    ) -> None:
        self.draws, self.groups = draws, groups
        self.typical, self.values, self.doubt = typical, values, doubt
        gram = products(groups, groups)
        self._inverse = np.linalg.inv(_covariance(draws, gram, typical, doubt))
        self._dual = self._inverse @ values
        shape = SHAPE + len(values) / 2
        self._signal = (RATE + self._dual @ values / 2) / shape

    def predict(self, groups: Groups, typical: Array) -> Normal:
        """Returns what a measurement of each of N architectures would say."""
        parts = [
            self._predict([g[rows] for g in groups], typical[rows])
            for start in range(0, len(typical), CHUNK)
            for rows in [slice(start, start + CHUNK)]
        ]
        if not parts:
            return Normal(np.zeros(0), np.zeros(0))
        return Normal(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _predict(self, groups: Groups, typical: Array) -> Normal:
        cross = products(groups, self.groups)
        own = np.stack([(group**2).sum(1) for group in groups])
        noises = noise_levels(self.draws, typical)
        mean, square = np.zeros(len(typical)), np.zeros(len(typical))
        for t, weight in enumerate(self.draws.weights):
            covariance = np.tensordot(self.draws.variances[t], cross, 1) + OFFSET
            means = covariance @ self._dual[t]
            known = ((covariance @ self._inverse[t]) * covariance).sum(1)
            prior = self.draws.variances[t] @ own + OFFSET + noises[t]
            mean += weight * means
            square += weight * (means**2 + self._signal[t] * np.maximum(prior - known, 0))
        return Normal(mean, np.sqrt(np.maximum(square - mean**2, 1e-18)))

    def surprise(self) -> Array:
        """Returns (K,) how far each measurement is from what the others say, in deviations."""
        mean, deviation = self.left_out()
        return np.abs(mean - self.values) / deviation

    def left_out(self) -> Normal:
        """Returns what the mixture says of each measured architecture from all the others."""
        diagonal = np.diagonal(self._inverse, axis1=1, axis2=2)
        means = self.values - self._dual / diagonal
        weights = self.draws.weights
        mean = weights @ means
        square = weights @ (means**2 + self._signal[:, None] / diagonal)
        return Normal(mean, np.sqrt(np.maximum(square - mean**2, 1e-18)))


def posterior(prior: Draws, groups: Groups, typical: Array, values: Array) -> Posterior:
    """Returns the mixture after ``values`` were measured, of its heaviest draws.

    A measurement that the others find improbable is doubted: its noise grows until it fits, as
    under Student's t (iteratively reweighted).
    """
    gram = products(groups, groups)
    doubt = np.ones(len(values))
    for _ in range(ROUNDS):
        evidence = log_evidence(prior, gram, typical, values, doubt)
        weights = probabilities(evidence + np.log(prior.weights))
        found = Posterior(prior.weighted(weights, MAX_KEPT), groups, typical, values, doubt)
        score = found.surprise()
        doubt = np.maximum((FREEDOM + score**2) / (FREEDOM + 1), 1)
    return found
