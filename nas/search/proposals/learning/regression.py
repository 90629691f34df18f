"""Regression: what finished trials say of the genes that were not tried, with a doubt.

A Gaussian process over genes. Its kernel is a polynomial in the share of genes that two
architectures have in common: the first power is Bayesian ridge regression on one-hot genes, the
second adds their pairs, the exponential all higher terms, which only near neighbours share. How
much there is of each, and of noise, is what makes the trials likeliest. Genes that an architecture
does not have are in common with none, so conditional spaces need nothing else.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, chapters
2 and 5, https://gaussianprocess.org/gpml/.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, eigh, solve_triangular

Array = NDArray[np.float64]
MIXES = tuple(  # shares of first powers, pairs and neighbours
    (a, b, 1 - a - b) for a, b in product((0.1, 0.35, 0.65), (0.1, 0.3, 0.6)) if a + b < 1
)
NOISES = tuple(np.geomspace(1e-4, 1.0, 9))  # of the variance
NEAR = 3.0  # genes by which what only neighbours share falls to 1/e
MOST_FITTED = 250  # trials by which the kernel is chosen


@dataclass(frozen=True, slots=True)
class GeneCovariance:
    """What share of the variance is of which kind.

    Attributes:
        mix: Of single genes, of pairs, of neighbours; together 1.
        noise: Beside these, as a share of them.
    """

    mix: tuple[float, float, float]
    noise: float

    def between(self, one: Array, other: Array) -> Array:
        """Returns the covariances of two sets of architectures, given as one-hot rows."""
        return mixed(self.mix, *terms(one, other))


def terms(one: Array, other: Array) -> tuple[Array, Array]:
    """Returns the share of genes in common, and how near neighbours are, 0..1."""
    own, others = one.sum(axis=1), other.sum(axis=1)
    sizes = np.sqrt(np.maximum(np.outer(own, others), 1e-12))
    common = (one @ other.T) / sizes
    return common, np.exp((common - 1) * sizes / NEAR)


def mixed(mix: tuple[float, float, float], common: Array, near: Array) -> Array:
    single, pairs, neighbours = mix
    return single * common + pairs * common**2 + neighbours * near


@dataclass(frozen=True, slots=True)
class Regression:
    """A fitted regression.

    Attributes:
        rows: One-hot genes of what it was fitted to.
        lower: Cholesky factor of their covariances, in units of `scale` squared.
        weights: Of the rows.
        mean, scale: Of the values.
    """

    kernel: GeneCovariance
    rows: Array
    lower: Array
    weights: Array
    mean: float
    scale: float

    def mean_at(self, rows: Array) -> Array:
        return self.mean + self.kernel.between(rows, self.rows) @ self.weights

    def posterior(self, rows: Array) -> "GenePosterior":
        """Returns what is believed at one-hot rows, which can be believed further."""
        between = self.kernel.between(rows, self.rows)
        explained = solve_triangular(self.lower, between.T, lower=True, check_finite=False)
        left = 1 - (explained**2).sum(axis=0)
        mean = self.mean + between @ self.weights
        return GenePosterior(self.kernel, rows, mean, self.scale, explained, left)

    def at(self, rows: Array) -> tuple[Array, Array]:
        """Returns mean and standard deviation at one-hot rows, noise left out."""
        posterior = self.posterior(rows)
        return posterior.mean, posterior.deviation

    def believing(self, rows: Array) -> "Regression":
        """Returns the regression as if its means at these rows had been found."""
        values = np.concatenate([self.known, self.mean_at(rows)])
        return conditioned(self.kernel, np.vstack([self.rows, rows]), values, self.scale)

    @property
    def known(self) -> Array:
        """The values it was fitted to."""
        return self.mean + self.lower @ (self.lower.T @ self.weights)


@dataclass(slots=True)
class GenePosterior:
    """What is believed of some architectures.

    Attributes:
        mean: Of each; what is believed to be as expected changes none.
        explained: What rows of the regression explain of each, (rows, architectures).
        left: What is left of the variance of each, in units of `scale` squared.
    """

    kernel: GeneCovariance
    rows: Array
    mean: Array
    scale: float
    explained: Array
    left: Array

    @property
    def deviation(self) -> Array:
        found: Array = self.scale * np.sqrt(np.maximum(self.left, 1e-10))
        return found

    def believe(self, at: int) -> None:
        """Goes on as if this architecture had been found to be as expected."""
        prior = self.kernel.between(self.rows[at : at + 1], self.rows)[0]
        covariance = prior - self.explained[:, at] @ self.explained
        row = covariance / np.sqrt(max(self.left[at], 0) + self.kernel.noise)
        self.explained = np.vstack([self.explained, row])
        self.left = self.left - row**2


def fit(rows: Array, values: Array) -> Regression:
    """Returns the likeliest regression of ``values`` (n) on one-hot ``rows`` (n, features).

    Raises:
        LinAlgError: If the covariances cannot be factored.
    """
    few = np.unique(np.linspace(0, len(rows) - 1, MOST_FITTED).astype(int))
    kernel, scale = likeliest(rows[few], values[few])
    return conditioned(kernel, rows, values, scale)


def conditioned(kernel: GeneCovariance, rows: Array, values: Array, scale: float) -> Regression:
    covariances = kernel.between(rows, rows)
    covariances[np.diag_indices(len(rows))] += kernel.noise
    lower = cholesky(covariances, lower=True, check_finite=False)
    mean = float(values.mean())
    weights = cho_solve((lower, True), values - mean, check_finite=False)
    return Regression(kernel, rows, lower, weights, mean, scale)


def likeliest(rows: Array, values: Array) -> tuple[GeneCovariance, float]:
    """Returns the kernel under which the values are likeliest, and its deviation."""
    centred = values - values.mean()
    common, near = terms(rows, rows)
    best, found = -np.inf, (GeneCovariance(MIXES[0], NOISES[-1]), 0.0)
    for mix in MIXES:
        spectrum, basis = eigh(mixed(mix, common, near), check_finite=False)
        energies = (basis.T @ centred) ** 2
        for noise in NOISES:
            variances = np.maximum(spectrum, 0) + noise
            scale = float(np.mean(energies / variances))
            if scale <= 0:
                continue
            likelihood = -np.log(scale) * len(rows) - np.log(variances).sum()
            if likelihood > best:
                best, found = (
                    likelihood,
                    (GeneCovariance(mix, float(noise)), float(np.sqrt(scale))),
                )
    return found
