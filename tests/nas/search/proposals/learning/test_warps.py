"""Warps lead back, know their slopes, and tell what draws of what is believed find."""

import numpy as np
import pytest

from nas.search.proposals.learning.warps import (
    LogAbove,
    PowerOfCost,
    Unwarped,
    Warp,
    warps_of_costs,
    warps_of_qualities,
)

LOSSES = np.array([-0.93, -0.91, -0.9, -0.85, -0.6])
WARPS = (Unwarped(), LogAbove(-0.95), PowerOfCost(1.0, -0.9, 1e-3), PowerOfCost(0.5, 0.1, 1e-3))


@pytest.mark.parametrize("warp", WARPS)
def test_warps_lead_back_and_grow_as_their_slopes_say(warp: Warp) -> None:
    step = 1e-6

    growth = (warp.forward(LOSSES + step) - warp.forward(LOSSES - step)) / (2 * step)

    assert warp.backward(warp.forward(LOSSES)) == pytest.approx(LOSSES, abs=1e-12)
    assert np.exp(warp.log_slopes(LOSSES)) == pytest.approx(growth, rel=1e-5)


@pytest.mark.parametrize("warp", WARPS)
def test_how_far_losses_are_below_levels_is_what_draws_find(warp: Warp) -> None:
    mean = warp.forward(LOSSES)
    of_losses = np.array([0.02, 0.01, 0.03, 0.02, 0.0])  # powers are right to second order
    deviation = of_losses * np.exp(np.minimum(warp.log_slopes(LOSSES), 0))
    levels = np.array([-0.94, -0.9, -0.7])

    found = warp.below(levels, mean, deviation)

    draws = np.random.default_rng(0).normal(size=(100_000, 1))
    losses = warp.backward(mean + draws * deviation)
    drawn = np.maximum(levels[None, None, :] - losses[:, :, None], 0).mean(axis=0)
    assert found == pytest.approx(drawn, abs=3e-4)


def test_no_loss_is_expected_below_the_edge() -> None:
    warp = LogAbove(0.1, 0.01)

    found = warp.below(np.array([0.05, 0.1]), np.array([-3.0, 2.0]), np.array([0.1, 9.0]))

    assert found == pytest.approx(np.zeros((2, 2)), abs=1e-9)
    assert warp.forward(np.array([0.0])) == pytest.approx(np.log(0.01))


def test_a_cost_that_is_believed_to_be_negative_is_taken_for_a_small_one() -> None:
    costs = np.log([2.0, 3.0, 8.0])
    cost, *_ = warps_of_costs(costs)

    assert cost.backward(np.array([-1.0])) == pytest.approx(np.log(1.0))


def test_scales_are_offered_for_losses_that_are_all_but_equal() -> None:
    losses = np.array([0.2, 0.2, 0.2, 0.3])

    for warp in (*warps_of_qualities(losses), *warps_of_costs(losses)):
        assert np.isfinite(warp.forward(losses)).all()
        assert np.isfinite(warp.log_slopes(losses)).all()
