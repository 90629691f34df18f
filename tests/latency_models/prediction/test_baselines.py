"""Lookup: known kernels come back as they were timed, what lies between them is between them."""

from dataclasses import replace

import numpy as np
import pytest

from latency_models.prediction.baselines import between, fit_lookup
from latency_models.prediction.kernel_rows import RANGED_AT
from latency_models.prediction.learned import size_distances
from tests.latency_models.prediction.tables import kernels, split, true_ms


def test_known_kernels_are_nearly_what_was_timed() -> None:
    table = kernels()
    times = true_ms(table, noise=0.02)

    logarithms, _ = fit_lookup(table, times).predict(table)

    assert np.median(np.abs(np.log(times) - logarithms)) < 0.02


def test_unseen_kernels_of_known_kinds_are_found_and_doubted() -> None:
    table = kernels()
    times = true_ms(table, noise=0.02)
    known, held_out = split(table)
    model = fit_lookup(table.rows(known), times[known])

    logarithms, doubts = model.predict(table.rows(held_out))

    missed = np.log(times[held_out]) - logarithms
    assert np.median(np.abs(missed)) < 0.15
    assert 0.5 < float(np.mean(np.square(missed / doubts))) ** 0.5 < 2.0


def test_nothing_inside_its_range_is_outside() -> None:
    table = kernels()
    model = fit_lookup(table, true_ms(table))
    assert np.all(size_distances(model.sizes, table) == 0)

    middle = table.features.copy()
    for kind in np.unique(table.kinds):
        own = np.flatnonzero(table.kinds == kind)
        mean = table.features[own].mean(0)
        middle[np.ix_(own, np.array(RANGED_AT))] = mean[RANGED_AT]
    between_them = replace(table, features=middle)
    assert np.all(size_distances(model.sizes, between_them) < 1e-9)
    logarithms, doubts = model.predict(between_them)
    assert np.all(np.isfinite(logarithms))
    assert np.all(doubts > 0)


def test_a_kernel_beyond_its_range_says_how_far() -> None:
    table = kernels()
    model = fit_lookup(table, true_ms(table))
    far = table.features.copy()
    far[:, RANGED_AT] += 20.0
    distances = size_distances(model.sizes, replace(table, features=far))
    assert np.all(distances > 5)


def test_a_known_size_outweighs_its_neighbours() -> None:
    sizes = np.array([[0.0], [1.0], [2.0], [3.0], [40.0]])
    slower = np.array([0.0, 1.0, 2.0, 3.0, 100.0])

    assert between(sizes, slower, np.array([1.0])) == pytest.approx(1.0, abs=0.01)
    assert 1 < between(sizes, slower, np.array([1.5])) < 2
    assert between(sizes[:1], slower[:1], np.array([9.0])) == 0.0


def test_a_kind_with_one_kernel_can_be_fitted() -> None:
    table = kernels().rows(np.arange(3))
    model = fit_lookup(table, true_ms(table))
    logarithms, doubts = model.predict(table)
    assert np.all(np.isfinite(logarithms))
    assert np.all(doubts > 0)
