"""Covariance: how alike architectures are by their genes, and which likeness trials tell of.

Each gene has a scale: how much it matters that two architectures differ in it; so has each kind of
genes, of how often they have each value. Two terms share the scales: a linear one, which is
Bayesian ridge regression, and an exponential one of the distance, in which genes act together
(pairs, triples and so on). Scales, the share of each term and the noise are those that make the
values likeliest, given that scales are not too far from each other. Genes that an architecture
does not have are in common with none, so conditional spaces need nothing else.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, chapters
2 and 5 (relevance of each input, marginal likelihood), https://gaussianprocess.org/gpml/.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize

Array = NDArray[np.float64]
Columns = NDArray[np.int64]
DISTANCE = 1.0  # of two architectures without a gene in common, before anything is known
SPREAD_OF_SCALES = 1.0  # of their logarithms
LINEAR_SHARE = (0.0, 1.5)  # centre and deviation of its logit
NOISE = (np.log(1e-2), 2.0)  # of the logarithm of the share of noise
FARTHEST = 6.0  # of logarithms from their centre
LEAST_NOISE = np.log(1e-6)
STEPS = 30  # of the optimiser, at most
UNLIKELY = 1e12  # in the place of a likelihood that cannot be computed


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the covariance of a set of values is like.

    Attributes:
        scales: By their numbers; one beyond them takes the typical one.
        typical: Scale of what nothing is known of.
        linear: Share of the linear term; the other has the rest.
        noise: Beside these, as a share of them.
        evidence: Logarithm of how likely the values are with it.
    """

    scales: tuple[float, ...]
    typical: float
    linear: float
    noise: float
    evidence: float

    def on(self, columns: Columns, rows: Array) -> "GeneCovariance":
        """Returns the covariance of rows of features.

        Args:
            columns: Which scale each column has.
            rows: Of which the linear term shall have its share on average.
        """
        missing = max(0, int(columns.max(initial=-1)) + 1 - len(self.scales))
        by_gene = np.concatenate([self.scales, np.full(missing, self.typical)])
        scales = by_gene[columns]
        size = float((rows**2 @ scales).mean()) or 1.0
        return GeneCovariance(scales, self.linear, size, self.noise)


@dataclass(frozen=True, slots=True)
class GeneCovariance:
    """Covariances of architectures, given as rows of features, in units of the values' variance.

    Attributes:
        scales: Of each column.
        linear: Share of the linear term.
        size: What the linear term is divided by.
        noise: Beside these.
    """

    scales: Array
    linear: float
    size: float
    noise: float

    def between(
        self,
        one: Array,
        other: Array,
        one_square: Array | None = None,
        other_square: Array | None = None,
    ) -> Array:
        """Returns the covariances of architectures, (one, other).

        Args:
            one_square, other_square: What `square` says of them, where that is known: of long
                rows it takes as long as the rest.
        """
        scaled = one * self.scales
        common = scaled @ other.T
        one_square = self.square(one) if one_square is None else one_square
        other_square = self.square(other) if other_square is None else other_square
        apart = one_square[:, None] + other_square[None, :] - 2 * common
        found: Array = (1 - self.linear) * np.exp(-apart) + (self.linear / self.size) * common
        return found

    def own(self, square: Array) -> Array:
        """Returns the variance of each architecture, from what `square` says of it."""
        found: Array = (1 - self.linear) + (self.linear / self.size) * square
        return found

    def square(self, rows: Array) -> Array:
        """Returns the scaled length of each row, squared."""
        found: Array = rows**2 @ self.scales
        return found


def likeliest(
    columns: Columns, rows: Array, values: Array, start: Likeness | None = None, steps: int = STEPS
) -> Likeness:
    """Returns what makes values (n) of ``rows`` of features (n, columns) likeliest.

    Args:
        start: From where it is looked for.
        steps: Of the optimiser, at most.
    """
    evidence = Evidence(columns, rows, values - values.mean())
    begin = evidence.centre if start is None else evidence.numbers_of(start)
    found = minimize(
        evidence.against,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=evidence.bounds,
        options={"maxiter": steps},
    )
    return evidence.likeness(found.x, -float(found.fun))


@dataclass(frozen=True, slots=True)
class Evidence:
    """How likely values are, by the logarithms of scales, the share of the linear term, and noise.

    Attributes:
        values: Their mean taken off.
    """

    columns: Columns
    rows: Array
    values: Array

    @property
    def genes(self) -> int:
        return int(self.columns.max(initial=-1)) + 1

    @property
    def typical(self) -> float:
        """Logarithm of the scale of a gene of which nothing is known."""
        return float(np.log(DISTANCE / (2 * max((self.rows**2).sum(axis=1).mean(), 1))))

    @property
    def centre(self) -> Array:
        return np.append(np.full(self.genes, self.typical), [LINEAR_SHARE[0], NOISE[0]])

    @property
    def spread(self) -> Array:
        return np.append(np.full(self.genes, SPREAD_OF_SCALES), [LINEAR_SHARE[1], NOISE[1]])

    @property
    def bounds(self) -> list[tuple[float, float]]:
        near = [(c - FARTHEST, c + FARTHEST) for c in self.centre]
        return [*near[:-1], (LEAST_NOISE, 0.0)]

    def numbers_of(self, likeness: Likeness) -> Array:
        linear = np.clip(likeness.linear, 1e-6, 1 - 1e-6)
        logit = np.log(linear / (1 - linear))
        return np.append(np.log(likeness.scales), [logit, np.log(likeness.noise)])

    def likeness(self, numbers: Array, evidence: float) -> Likeness:
        scales = tuple(np.exp(numbers[:-2]).tolist())
        linear = float(1 / (1 + np.exp(-numbers[-2])))
        return Likeness(
            scales, float(np.exp(self.typical)), linear, float(np.exp(numbers[-1])), evidence
        )

    def against(self, numbers: Array) -> tuple[float, Array]:
        """Returns minus the logarithm of how likely the values are with the numbers, and slopes.

        The variance of the values is the likeliest for these numbers (section 5.4.1 of the book).
        """
        likeness = self.likeness(numbers, 0.0)
        covariance = likeness.on(self.columns, self.rows)
        count = len(self.values)
        scaled = self.rows * covariance.scales
        common = scaled @ self.rows.T
        own = np.diagonal(common)
        near = np.exp(2 * common - own[:, None] - own[None, :])
        line = common / covariance.size
        whole = covariance.linear * line + (1 - covariance.linear) * near
        whole[np.diag_indices(count)] += covariance.noise
        lower, failed = lapack.dpotrf(whole, lower=1)
        if failed:
            return UNLIKELY, np.zeros_like(numbers)
        inverse, _ = lapack.dpotri(lower, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weights = inverse @ self.values
        variance = max(float(self.values @ weights) / count, 1e-300)
        against = 0.5 * count * np.log(variance) + np.log(np.diagonal(lower)).sum()
        pull = 0.5 * (inverse - np.outer(weights, weights) / variance)  # of each covariance
        away = (numbers - self.centre) / self.spread
        slopes = self.slopes(covariance, pull, near, line) + away / self.spread
        return float(against + 0.5 * (away**2).sum()), slopes

    def slopes(self, covariance: GeneCovariance, pull: Array, near: Array, line: Array) -> Array:
        """Returns how much each number adds to what is against it, by the chain rule."""
        linear, rows, squares = covariance.linear, self.rows, self.rows**2
        of_near, of_line = pull * near, float((pull * line).sum())
        mixed = 2 * (1 - linear) * of_near + (linear / covariance.size) * pull
        by_column = ((mixed @ rows) * rows).sum(axis=0)
        by_column -= 2 * (1 - linear) * (of_near.sum(axis=1) @ squares)
        by_column -= (linear / covariance.size) * of_line * squares.mean(axis=0)
        by_gene = np.bincount(
            self.columns, weights=by_column * covariance.scales, minlength=self.genes
        )
        share = linear * (1 - linear) * (of_line - float(of_near.sum()))
        return np.append(by_gene, [share, covariance.noise * float(np.trace(pull))])
