"""Expected improvements are those that drawing many networks finds."""

from dataclasses import dataclass

import moocore
import numpy as np
import pytest

from nas.search.proposals.learning.improvement import (
    Array,
    by_directions,
    expected_improvement,
)
from nas.search.proposals.learning.warps import below

FRONT = np.array([[0.2, 3.0], [0.5, 1.0], [0.9, 0.2], [0.6, 2.0], [2.0, 0.1]])
CORNER = np.array([1.0, 4.0])
MEAN = np.array([[0.1, 2.0], [0.6, 0.9], [0.8, 3.9], [1.5, 5.0]])
DEVIATION = np.array([[0.2, 0.5], [0.1, 0.1], [0.3, 0.0], [0.4, 0.4]])


@dataclass(frozen=True)
class Normal:
    """What is believed of one loss."""

    mean: Array
    deviation: Array

    def below(self, levels: Array) -> Array:
        return below(levels, self.mean, self.deviation)

    def at(self, quantile: np.float64) -> Array:
        return self.mean + quantile * self.deviation


def normals(mean: Array, deviation: Array) -> list[Normal]:
    return [Normal(m, d) for m, d in zip(mean.T, deviation.T, strict=True)]


def drawn(
    mean: Array, deviation: Array, front: Array, corner: Array, rng: np.random.Generator
) -> float:
    draws = mean + deviation * rng.normal(size=(4000, len(mean)))
    inside = front[(front < corner).all(axis=1)]
    before = moocore.hypervolume(inside, ref=corner) if len(inside) else 0.0
    volumes = [moocore.hypervolume(np.vstack([inside, d]), ref=corner) for d in draws]
    return float(np.mean(volumes)) - before


@pytest.mark.parametrize("front", [FRONT, FRONT[:1], FRONT[:0], FRONT[4:]])
def test_with_two_objectives_it_is_what_draws_find(front: Array) -> None:
    rng = np.random.default_rng(0)

    found = expected_improvement(normals(MEAN, DEVIATION), front, CORNER, rng)

    expected = [drawn(m, d, front, CORNER, rng) for m, d in zip(MEAN, DEVIATION, strict=True)]
    assert found == pytest.approx(expected, abs=0.05)


def test_what_is_known_adds_exactly_its_hypervolume() -> None:
    found = expected_improvement(
        normals(MEAN, 0 * DEVIATION), FRONT, CORNER, np.random.default_rng(0)
    )

    before = moocore.hypervolume(FRONT[:4], ref=CORNER)
    after = [moocore.hypervolume(np.vstack([FRONT[:4], m]), ref=CORNER) for m in MEAN]
    assert found == pytest.approx(np.array(after) - before, abs=1e-9)


def test_with_one_objective_it_is_how_far_below_the_best_it_is_expected() -> None:
    mean, deviation = np.array([[0.3], [0.1]]), np.array([[0.1], [1e-9]])
    front, rng = np.array([[0.4], [0.2]]), np.random.default_rng(0)

    found = expected_improvement(normals(mean, deviation), front, np.array([1.0]), rng)

    draws = np.maximum(0.2 - (0.3 + 0.1 * rng.normal(size=200_000)), 0).mean()
    assert found == pytest.approx([draws, 0.1], abs=2e-4)


def test_directions_order_networks_of_three_objectives_as_exact_volumes_do() -> None:
    rng = np.random.default_rng(0)
    front, mean = rng.random((6, 3)), rng.random((40, 3)) * 0.8
    corner = np.ones(3)

    found = by_directions(normals(mean, np.zeros_like(mean)), front, corner, rng)

    before = moocore.hypervolume(front, ref=corner)
    exact = [moocore.hypervolume(np.vstack([front, m]), ref=corner) - before for m in mean]
    assert np.corrcoef(found, exact)[0, 1] > 0.95


def test_below_is_the_mean_of_what_is_missing_to_a_level() -> None:
    draws = np.random.default_rng(0).normal(1.0, 0.5, size=400_000)

    found = below(np.array([0.5, 1.0, 2.5]), np.array([1.0]), np.array([0.5]))

    assert found[0] == pytest.approx(
        [np.maximum(t - draws, 0).mean() for t in (0.5, 1, 2.5)], abs=2e-3
    )
