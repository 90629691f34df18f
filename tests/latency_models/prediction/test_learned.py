"""Learned kernel model: known prices come back, unseen kernels are close, doubts are honest."""

from dataclasses import replace

import numpy as np
import pytest

from latency_models.prediction.kernel_rows import RANGED_AT, KernelRows
from latency_models.prediction.learned import (
    LEAST_DOUBT,
    family_doubts,
    fit_learned,
    fit_prices,
    size_distances,
)
from tests.latency_models.prediction.tables import Floats, kernels, split, true_ms

NOISE = 0.02


def missed_by(model: object, table: KernelRows, median_ms: Floats) -> tuple[Floats, Floats]:
    """Errors in log latency, and doubts."""
    logarithms, doubts = model.predict(table)  # type: ignore[attr-defined]
    return np.log(median_ms) - logarithms, doubts


def test_known_prices_are_found() -> None:
    rng = np.random.default_rng(0)
    terms = 10 ** rng.uniform(0, 5, (300, 4))
    prices = np.array([1e-4, 3e-6, 0.0, 2e-7])

    found = fit_prices(terms, terms @ prices)

    np.testing.assert_allclose(found, prices, rtol=1e-6, atol=1e-12)


def test_prices_are_never_negative() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        terms = np.abs(rng.normal(size=(12, 5))) * (rng.random(5) < 0.7)
        assert np.all(fit_prices(terms, np.abs(rng.normal(size=12)) + 0.1) >= 0)


def test_small_kernels_count_as_much_as_large_ones() -> None:
    terms = np.array([[1.0, 1.0], [1.0, 1e6]] * 20)
    found = fit_prices(terms, terms @ np.array([1e-3, 1e-5]))
    np.testing.assert_allclose(found, [1e-3, 1e-5], rtol=1e-6)


def test_unseen_kernels_are_close_and_doubts_are_of_the_right_size() -> None:
    table = kernels()
    times = true_ms(table, NOISE)
    known, held_out = split(table)

    model = fit_learned(table.rows(known), times[known])

    missed, doubts = missed_by(model, table.rows(held_out), times[held_out])
    assert float(np.median(np.abs(missed))) < 0.05
    assert float(np.mean(np.abs(missed))) < 0.1
    assert 0.4 < float(np.median(np.abs(missed / doubts))) / 0.6745 < 1.6
    assert 0.8 < np.mean(np.abs(missed) < 1.645 * doubts) <= 1


def test_it_beats_what_its_terms_say_alone() -> None:
    table = kernels()
    times = true_ms(table)
    known, held_out = split(table)
    model = fit_learned(table.rows(known), times[known])

    missed, _ = missed_by(model, table.rows(held_out), times[held_out])
    flat = np.log(times[held_out]) - model.base(table.rows(held_out))
    assert np.mean(np.abs(missed)) < 0.8 * np.mean(np.abs(flat))


def test_the_same_readings_give_the_same_model() -> None:
    table = kernels(networks=20)
    times = true_ms(table)
    one, same = fit_learned(table, times), fit_learned(table, times)
    for a, b in zip(one.predict(table), same.predict(table), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_family_that_was_never_timed_is_doubted_more() -> None:
    table = kernels()
    times = true_ms(table, NOISE)
    unknown = table.families == "BitConvKernel"
    model = fit_learned(table.rows(~unknown), times[~unknown])

    missed, doubts = missed_by(model, table.rows(unknown), times[unknown])
    _, usual = missed_by(model, table.rows(~unknown), times[~unknown])
    assert np.all(np.isfinite(missed))
    assert np.median(doubts) > 1.5 * np.median(usual)


def test_how_far_a_kernel_lies_outside_is_told() -> None:
    table = kernels()
    model = fit_learned(table, true_ms(table), num_folds=2)

    assert np.all(size_distances(model.sizes, table) == 0)
    larger = table.features.copy()
    larger[:, RANGED_AT] += np.log(3.0)
    outside = size_distances(model.sizes, replace(table, features=larger))
    assert np.all(outside <= np.log(3.0) + 1e-9)
    assert outside.max() == pytest.approx(np.log(3.0))
    unknown = replace(table, kinds=np.full(len(table), "quantum 3x3"))
    assert np.all(np.isinf(size_distances(model.sizes, unknown)))


def test_distance_is_that_of_the_worst_size() -> None:
    row = kernels().rows(np.array([0]))
    (kind,) = row.kinds
    low, high = row.sizes[0] - 1, row.sizes[0] - np.array([0.5, -1, -1, 0.25])
    assert size_distances({str(kind): np.stack([low, high])}, row) == pytest.approx([0.5])


def test_doubts_of_few_kernels_are_drawn_to_that_of_all() -> None:
    table = kernels()
    missed = np.where(table.families == "Conv2dKernel", 0.2, 0.05)
    doubts = family_doubts(table, missed)

    assert doubts["Conv2dKernel"] == pytest.approx(0.2, rel=0.1)
    assert all(LEAST_DOUBT <= doubt <= 0.21 for doubt in doubts.values())
    assert family_doubts(table, np.zeros(len(table)))["*"] == LEAST_DOUBT
