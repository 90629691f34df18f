"""Doubts that are multiplied are right of trials that had no part in it."""

import numpy as np
import pytest

from nas.search.proposals.insight.recalibration import FEWEST, ONE, doubts_times, times_before

BLOCK, COUNT = 20, 600


def distances(times: float) -> np.ndarray:
    """How far off normal trials are, in doubts that are so many times too small."""
    return times * np.abs(np.random.default_rng(0).normal(size=COUNT))


@pytest.mark.parametrize("times", [1.0, 2.0, 5.0])
def test_two_thirds_of_later_trials_lie_within_a_doubt_however_small_it_was(times: float) -> None:
    off, blocks = distances(times), np.arange(COUNT) // BLOCK

    found = times_before(off, blocks)

    assert (found[:BLOCK] == 1).all()
    within = off[BLOCK:] <= found[BLOCK:]
    assert within.mean() == pytest.approx(ONE, abs=0.05)
    assert doubts_times(off) == pytest.approx(times, rel=0.1)


def test_no_trial_widens_its_own_doubt_or_one_before() -> None:
    off, blocks = distances(3.0), np.arange(COUNT) // BLOCK
    otherwise = np.where(blocks < 10, off, 100 * off)

    same = times_before(off, blocks) == times_before(otherwise, blocks)

    assert same[blocks <= 10].all()
    assert not same[blocks > 11].any()


def test_doubts_are_never_narrowed_and_few_trials_change_none() -> None:
    assert doubts_times(distances(0.3)) == 1
    assert doubts_times(np.full(FEWEST - 1, 9.0)) == 1
    assert doubts_times(np.full(FEWEST, 9.0)) == 9
