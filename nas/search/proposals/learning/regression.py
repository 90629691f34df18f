"""Regression: what finished trials say of the genes that were not tried, with a doubt.

A Gaussian process over genes; `covariance` says how alike architectures are.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006,
chapter 2, https://gaussianprocess.org/gpml/.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from nas.search.proposals.learning.covariance import (
    Array,
    Columns,
    GeneCovariance,
)

MOST_FITTED = 150  # values by which the covariance is chosen
FEWEST_FITTED = 60
MOST_WORK = 8_000_000  # products of one step of that; fewer values are taken of very long genes
JITTER = 1e-9  # of a variance, so that equal rows have a factor
LEAST_LEFT = 1e-10  # of a variance, so that its root can be had


@dataclass(frozen=True, slots=True)
class Regression:
    """A fitted regression.

    Attributes:
        rows: One-hot genes of what it was fitted to.
        lower: Cholesky factor of their covariances, in units of `scale` squared.
        weights: Of the rows.
        mean, scale: Of the values.
        square: Scaled length of each row, squared.
    """

    kernel: GeneCovariance
    rows: Array
    lower: Array
    weights: Array
    mean: float
    scale: float
    square: Array

    def mean_at(self, rows: Array) -> Array:
        between = self.kernel.between(rows, self.rows, other_square=self.square)
        return self.mean + between @ self.weights

    def posterior(self, rows: Array) -> "GenePosterior":
        """Returns what is believed at rows of features, which can be believed further."""
        square = self.kernel.square(rows)
        between = self.kernel.between(rows, self.rows, square, self.square)
        explained = solve_triangular(self.lower, between.T, lower=True, check_finite=False)
        left = self.kernel.own(square) - (explained**2).sum(axis=0)
        mean = self.mean + between @ self.weights
        return GenePosterior(self.kernel, rows, mean, self.scale, explained, left, square)

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
        square: Scaled length of each row, squared.
    """

    kernel: GeneCovariance
    rows: Array
    mean: Array
    scale: float
    explained: Array
    left: Array
    square: Array

    @property
    def deviation(self) -> Array:
        found: Array = self.scale * np.sqrt(np.maximum(self.left, LEAST_LEFT))
        return found

    @property
    def noise(self) -> float:
        """Standard deviation of what genes do not explain."""
        return float(self.scale * np.sqrt(self.kernel.noise))

    def drawn(self, count: int, rng: np.random.Generator) -> Array:
        """Returns what the architectures may turn out to be together, noise among it.

        Returns:
            An array (count, architectures).
        """
        covariance = self.kernel.between(self.rows, self.rows, self.square, self.square)
        covariance -= self.explained.T @ self.explained
        covariance[np.diag_indices(len(self.rows))] += self.kernel.noise + JITTER
        factor = self.scale * cholesky(covariance, lower=True)
        found: Array = self.mean + rng.normal(size=(count, len(self.rows))) @ factor.T
        return found

    def believe(self, at: int) -> None:
        """Goes on as if this architecture had been found to be as expected."""
        one = self.rows[at : at + 1]
        prior = self.kernel.between(one, self.rows, other_square=self.square)[0]
        covariance = prior - self.explained[:, at] @ self.explained
        row = covariance / np.sqrt(max(self.left[at], 0) + self.kernel.noise)
        self.explained = np.vstack([self.explained, row])
        self.left = self.left - row**2


def those_fitted(rows: Array) -> Columns:
    """Returns which rows a covariance is chosen by, spread over all."""
    affordable = int(np.sqrt(MOST_WORK / max(1, rows.shape[1])))
    most = int(np.clip(affordable, FEWEST_FITTED, MOST_FITTED))
    return np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))


def conditioned(
    kernel: GeneCovariance, rows: Array, values: Array, scale: float | None = None
) -> Regression:
    """Returns the regression of a covariance.

    Args:
        scale: Standard deviation of the values without genes; the likeliest where it is None.
    """
    square = kernel.square(rows)
    covariances = kernel.between(rows, rows, square, square)
    covariances[np.diag_indices(len(rows))] += kernel.noise
    lower = cholesky(covariances, lower=True, check_finite=False)
    mean = float(values.mean())
    weights = cho_solve((lower, True), values - mean, check_finite=False)
    if scale is None:
        scale = float(np.sqrt(max((values - mean) @ weights / len(values), 1e-300)))
    return Regression(kernel, rows, lower, weights, mean, scale, square)
