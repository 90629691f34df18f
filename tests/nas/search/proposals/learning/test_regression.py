"""Regressions are what the textbook's formulas say, and right about their doubt."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.proposals.learning.covariance import Array
from nas.search.proposals.learning.losses import likeliest_shape, regressed
from nas.search.proposals.learning.regression import Regression

COLUMNS = np.tile(np.arange(6), 3)  # a column for each value of each gene


def fit(columns: NDArray[np.int64], rows: Array, values: Array) -> Regression:
    """The likeliest regression of values as they are."""
    return regressed(likeliest_shape(columns, rows, values), columns, rows, values).inner


def at(regression: Regression, rows: Array) -> tuple[Array, Array]:
    posterior = regression.posterior(rows)
    return posterior.mean, posterior.deviation


@pytest.fixture(scope="module")
def everything() -> tuple[Array, Array]:
    """One-hot genes of all 3^6 architectures, and values of single genes and of pairs."""
    codes = np.array(list(product(range(3), repeat=6)))
    hot = np.concatenate([codes == v for v in range(3)], axis=1).astype(float)
    rng = np.random.default_rng(0)
    pairs = np.triu(rng.normal(size=(18, 18)), 1) * 0.3
    return hot, hot @ rng.normal(size=18) + np.einsum("ni,ij,nj->n", hot, pairs, hot)


def some(count: int, seed: int = 1) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(729)[:count]


def test_mean_and_deviation_are_the_textbooks(everything: tuple[Array, Array]) -> None:
    hot, values = everything
    known, asked = some(60)[:40], some(60)[40:]

    regression = fit(COLUMNS, hot[known], values[known])
    mean, deviation = at(regression, hot[asked])

    kernel, scale = regression.kernel, regression.scale
    inverse = np.linalg.inv(kernel.between(hot[known], hot[known]) + kernel.noise * np.eye(40))
    between = kernel.between(hot[asked], hot[known])
    centre = values[known].mean()
    assert mean == pytest.approx(centre + between @ inverse @ (values[known] - centre), abs=1e-6)
    own = kernel.own(kernel.square(hot[asked]))
    left = own - np.einsum("ij,jk,ik->i", between, inverse, between)
    assert deviation == pytest.approx(scale * np.sqrt(np.maximum(left, 1e-10)), abs=1e-6)


def test_what_was_not_seen_is_predicted_and_the_doubt_is_right(
    everything: tuple[Array, Array],
) -> None:
    hot, values = everything
    inside = []
    for seed in range(5):
        known = some(120, seed)
        asked = np.setdiff1d(np.arange(729), known)
        mean, deviation = at(fit(COLUMNS, hot[known], values[known]), hot[asked])
        assert np.corrcoef(mean, values[asked])[0, 1] > 0.95
        inside.append(np.mean(np.abs(mean - values[asked]) < 2 * deviation))

    assert 0.8 < np.mean(inside) <= 1


def test_believing_changes_no_mean_and_lowers_doubt_as_fitting_anew_would(
    everything: tuple[Array, Array],
) -> None:
    hot, values = everything
    known, asked = some(80)[:50], some(80)[50:]
    regression = fit(COLUMNS, hot[known], values[known])
    posterior = regression.posterior(hot[asked])
    before = posterior.deviation

    posterior.believe(3)
    posterior.believe(7)

    mean, deviation = at(regression.believing(hot[asked[[3, 7]]]), hot[asked])
    assert posterior.mean == pytest.approx(mean, abs=0.1)
    assert posterior.deviation == pytest.approx(deviation, rel=1e-4, abs=1e-5)
    assert (posterior.deviation <= before + 1e-12).all()
    assert posterior.deviation[3] < before[3]


def test_genes_that_are_not_there_are_in_common_with_none() -> None:
    hot = np.array([[1, 0, 1.0], [1, 0, 0], [0, 1, 0]])

    regression = fit(np.array([0, 0, 1]), np.vstack([hot] * 3), np.tile([1.0, 2.0, 5.0], 3))

    assert regression.mean_at(hot) == pytest.approx([1, 2, 5], abs=0.3)
