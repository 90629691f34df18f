"""Composition: what a network takes beyond its kernels is found; intervals hold on unseen ones."""

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_models.prediction.composition import (
    LEAST_NETWORKS,
    Composition,
    Parts,
    fit_composition,
)

Floats = NDArray[np.float64]
SHARES = np.array([0.9, 1.2, 1.0])
PER_KERNEL_MS, CONSTANT_MS = 0.002, 0.05


def parts_of(rng: np.random.Generator, number: int) -> Parts:
    """Networks of three families: some have much of one, some of another."""
    counts = rng.integers(10, 60, number)
    sums = (counts[:, None] * 0.01 * np.exp(rng.normal(size=(number, 3)))).astype(np.float64)
    return Parts(sums, counts.astype(np.float64), np.full(number, 0.01**2))


def true_ms(
    parts: Parts,
    rng: np.random.Generator,
    noise: float = 0.0,
    shares: Floats = SHARES,
) -> Floats:
    whole = parts.sums_ms @ shares + PER_KERNEL_MS * parts.counts + CONSTANT_MS
    return whole * np.exp(rng.normal(scale=noise, size=len(whole)))


def covered(
    composition: Composition, parts: Parts, median_ms: Floats, probability: float
) -> float:
    """The share of networks that lie in their intervals."""
    missed = np.abs(np.log(median_ms / composition.predict(parts)))
    return float(np.mean(missed <= composition.width(probability) * composition.doubt(parts)))


def test_known_overheads_and_shares_are_found() -> None:
    rng = np.random.default_rng(0)
    parts = parts_of(rng, 300)

    found = fit_composition(parts, true_ms(parts, rng, noise=0.005))

    np.testing.assert_allclose(found.shares, SHARES, atol=0.03)
    assert found.per_kernel_ms == pytest.approx(PER_KERNEL_MS, rel=0.15)
    assert found.constant_ms == pytest.approx(CONSTANT_MS, rel=0.15)


def test_with_few_networks_shares_stay_near_one() -> None:
    rng = np.random.default_rng(0)
    off = np.array([0.5, 1.6, 1.0])
    few, many = parts_of(rng, 9), parts_of(rng, 300)

    with_few = fit_composition(few, true_ms(few, rng, 0.2, off)).shares
    with_many = fit_composition(many, true_ms(many, rng, 0.02, off)).shares

    assert np.abs(with_few - 1).max() < np.abs(with_many - 1).max()
    np.testing.assert_allclose(with_many, off, atol=0.1)


@pytest.mark.parametrize("number", range(LEAST_NETWORKS))
def test_below_a_few_networks_one_factor_is_all_that_is_fitted(number: int) -> None:
    rng = np.random.default_rng(number)
    parts = parts_of(rng, number)

    found = fit_composition(parts, parts.sums_ms.sum(1) * 1.3)

    assert np.all(found.shares == found.shares[0])
    assert found.shares[0] == pytest.approx(1.3 if number else 1.0)
    unseen = parts_of(rng, 20)
    assert np.all(found.predict(unseen) > 0)
    assert np.all(found.doubt(unseen) * found.width(0.9) > 0.1)  # it says that it knows little
    assert len(found.errors) == 0


@pytest.mark.parametrize("number", [8, 9, 10, 11, 19, 20])
def test_any_number_of_networks_can_be_fitted(number: int) -> None:
    rng = np.random.default_rng(number)
    parts = parts_of(rng, number)

    found = fit_composition(parts, true_ms(parts, rng, 0.05))

    assert len(found.errors) == len(found.scores) == number
    assert np.all(np.isfinite(found.shares))
    assert np.all(np.diff(found.scores) >= 0)


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
def test_intervals_hold_on_unseen_networks(noise: float) -> None:
    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        known, unseen = parts_of(rng, 60), parts_of(rng, 300)
        found = fit_composition(known, true_ms(known, rng, noise))
        rates.append(covered(found, unseen, true_ms(unseen, rng, noise), 0.9))

    assert 0.87 < np.mean(rates) < 0.97
    assert min(rates) > 0.6


def test_intervals_are_wider_for_networks_of_doubtful_kernels() -> None:
    """Errors that grow with the doubt of the kernels are covered on both sides alike."""
    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        both = []
        for number in (100, 400):
            parts = parts_of(rng, number)
            doubt = np.where(rng.random(number) < 0.5, 0.02, 0.15)
            both.append(Parts(parts.sums_ms, parts.counts, doubt**2))
        known, unseen = both
        times = [
            true_ms(p, rng) * np.exp(rng.normal(size=len(p.counts)) * p.variances**0.5)
            for p in both
        ]
        found = fit_composition(known, times[0])
        rates += [
            [
                covered(found, unseen.rows(mask), times[1][mask], 0.9)
                for mask in (unseen.variances < 0.01, unseen.variances > 0.01)
            ]
        ]

    sure, doubtful = np.mean(rates, axis=0)
    assert 0.8 < sure <= 1
    assert 0.8 < doubtful <= 1


def test_outliers_do_not_spoil_it() -> None:
    rng = np.random.default_rng(0)
    parts, unseen = parts_of(rng, 100), parts_of(rng, 200)
    times = true_ms(parts, rng, 0.01)
    times[rng.choice(100, 5, replace=False)] *= 3

    found = fit_composition(parts, times)

    missed = np.abs(np.log(true_ms(unseen, rng) / found.predict(unseen)))
    assert np.median(missed) < 0.02
    assert np.max(missed) < 0.15
    assert found.spread < 0.05


def test_a_drift_between_stretches_of_time_widens_intervals() -> None:
    rng = np.random.default_rng(0)
    parts = parts_of(rng, 100)
    times = true_ms(parts, rng, 0.01)
    drifted = times * np.repeat(np.exp(rng.normal(scale=0.1, size=10)), 10)

    still, moving = fit_composition(parts, times), fit_composition(parts, drifted)

    assert moving.width(0.9) * moving.spread > 3 * still.width(0.9) * still.spread


def test_families_that_always_come_together_keep_shares_that_make_sense() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        parts = parts_of(rng, 200)
        together = parts.sums_ms.copy()
        together[:, 1] = together[:, 0] * np.exp(rng.normal(scale=0.02, size=200))
        parts = Parts(together, parts.counts, parts.variances)
        shares = fit_composition(parts, true_ms(parts, rng, 0.1)).shares
        assert np.all(shares >= 0), (seed, shares)


def test_a_family_that_no_network_has_counts_as_it_is() -> None:
    rng = np.random.default_rng(0)
    parts = parts_of(rng, 50)
    parts = Parts(np.column_stack([parts.sums_ms, np.zeros(50)]), parts.counts, parts.variances)
    found = fit_composition(parts, true_ms(parts, rng, shares=np.array([*SHARES, 1.0])))
    assert found.shares[-1] == pytest.approx(1.0)


def test_a_prediction_is_never_zero_nor_negative() -> None:
    rng = np.random.default_rng(0)
    parts = parts_of(rng, 50)
    found = fit_composition(parts, np.maximum(true_ms(parts, rng) - 0.3, 0.01))

    tiny = Parts(np.array([[1e-6, 0.0, 0.0]]), np.array([1.0]), np.array([0.01]))
    assert found.predict(tiny)[0] > 0


def test_a_wider_interval_is_asked_for_by_a_higher_probability() -> None:
    rng = np.random.default_rng(0)
    parts = parts_of(rng, 100)
    found = fit_composition(parts, true_ms(parts, rng, 0.05))

    widths = [found.width(probability) for probability in (0.5, 0.8, 0.9, 0.99, 0.9999)]
    assert widths == sorted(widths)
    assert widths[-1] == found.scores[-1]


def test_kernels_that_a_runtime_fuses_away_count_nothing_and_never_less() -> None:
    true = np.array([1.0, 0.9, 0.0, 0.0, 0.0, 1.0])
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts = rng.integers(10, 60, 400).astype(np.float64)
        sizes = np.array([1, 1, 0.3, 0.1, 0.05, 0.3])
        sums = counts[:, None] * 0.01 * np.exp(rng.normal(size=(400, 6))) * sizes
        times = (sums @ true + CONSTANT_MS) * np.exp(rng.normal(scale=0.15, size=400))
        found.append(fit_composition(Parts(sums, counts, np.full(400, 1e-4)), times).shares)

    assert np.min(found) == 0
    np.testing.assert_allclose(np.mean(found, axis=0)[[0, 1, 5]], true[[0, 1, 5]], atol=0.1)
