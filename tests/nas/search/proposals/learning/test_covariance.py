"""Covariances are those of the formula, and their likelihood is that of a normal density."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nas.search.proposals.learning.covariance import Array, Columns, Evidence, likeliest

SIZES = (2, 3, 4, 2)
COLUMNS = np.repeat(np.arange(4), SIZES)


def drawn(count: int, seed: int = 0) -> Array:
    """One-hot rows of four genes, the last of which every third does not have."""
    rng = np.random.default_rng(seed)
    rows = np.hstack([np.eye(size)[rng.integers(size, size=count)] for size in SIZES])
    rows[::3, -2:] = 0
    return rows


def with_values(count: int) -> tuple[Columns, Array, Array]:
    rows = drawn(count)
    values = rows @ np.random.default_rng(1).normal(size=11) + rows[:, 0] * rows[:, 3]
    return COLUMNS, rows, values


def test_covariances_are_those_that_the_formula_gives_one_by_one() -> None:
    columns, rows, values = with_values(12)
    likeness = likeliest(columns, rows, values)
    covariance = likeness.on(columns, rows)

    found = covariance.between(rows, rows[:5])

    scales = np.array(likeness.scales)[columns]
    size = np.mean([(row * scales).sum() for row in rows])
    for i, one in enumerate(rows):
        for j, other in enumerate(rows[:5]):
            line = sum(s for s, a, b in zip(scales, one, other, strict=True) if a and b) / size
            near = np.exp(-sum(s for s, a, b in zip(scales, one, other, strict=True) if a != b))
            expected = likeness.linear * line + (1 - likeness.linear) * near
            assert found[i, j] == pytest.approx(expected, abs=1e-12)
    assert covariance.own(covariance.square(rows)) == pytest.approx(
        np.diagonal(covariance.between(rows, rows))
    )


def test_slopes_are_those_of_small_steps() -> None:
    columns, rows, values = with_values(40)
    evidence = Evidence(columns, rows, values - values.mean())
    numbers = evidence.centre + np.random.default_rng(2).normal(size=6) * 0.5

    _, slopes = evidence.against(numbers)

    step = 1e-5
    for at in range(len(numbers)):
        moved = np.zeros(len(numbers))
        moved[at] = step
        ahead, behind = (evidence.against(numbers + m)[0] for m in (moved, -moved))
        assert slopes[at] == pytest.approx((ahead - behind) / (2 * step), abs=1e-4, rel=1e-4)


def test_what_is_against_numbers_is_the_density_of_the_values_and_how_far_the_numbers_are() -> (
    None
):
    columns, rows, values = with_values(30)
    centred = values - values.mean()
    evidence = Evidence(columns, rows, centred)

    def density(numbers: Array) -> float:
        covariance = evidence.likeness(numbers, 0.0).on(columns, rows)
        whole = covariance.between(rows, rows) + covariance.noise * np.eye(30)
        scale = centred @ np.linalg.solve(whole, centred) / 30  # the likeliest
        away = (numbers - evidence.centre) / evidence.spread
        density = multivariate_normal(np.zeros(30), scale * whole).logpdf(centred)
        return float(density) - 0.5 * float((away**2).sum())

    first, second = evidence.centre, evidence.centre + 0.7
    told = evidence.against(second)[0] - evidence.against(first)[0]

    assert told == pytest.approx(density(first) - density(second), abs=1e-6)


def test_genes_that_matter_have_the_largest_scales() -> None:
    rows = drawn(80)
    values = 3 * rows[:, 2] - 2 * rows[:, 4] + 0.05 * rows[:, 9]

    scales = likeliest(COLUMNS, rows, values).scales

    assert int(np.argmax(scales)) == 1
    assert scales[1] > 3 * max(scales[0], scales[2], scales[3])


def test_a_gene_that_was_not_seen_when_scales_were_found_has_a_typical_one() -> None:
    columns, rows, values = with_values(20)
    likeness = likeliest(columns, rows, values)
    further = np.hstack([rows, np.eye(2)[np.arange(20) % 2]])

    covariance = likeness.on(np.append(columns, [4, 4]), further)

    assert covariance.scales[-2:] == pytest.approx(likeness.typical)
    assert covariance.scales[:-2] == pytest.approx(np.array(likeness.scales)[columns])
