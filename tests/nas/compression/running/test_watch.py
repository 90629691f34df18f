"""The time left is that of what is to come, corrected by what has been."""

import pytest

from nas.compression.running.watch import TimeLeft


def test_time_left_is_what_epochs_took_and_what_was_expected_of_later_trainings() -> None:
    now = iter([100.0, 104.0, 112.0])
    left = TimeLeft({1: [(2.0, 3), (2.0, 1)], 2: [(10.0, 2)]}, clock=lambda: next(now))
    left.begin()

    # An epoch took 4 s, twice what was expected: so will 1 + 2 epochs of later trainings.
    assert left.after(1, 0, 1, 1) == pytest.approx(4 * 2 + 2 * (2 + 20))
    # Taken up after its first epoch, this process ran two in 12 s.
    assert left.after(1, 0, 3, 2) == pytest.approx(3 * (2 + 20))


def test_a_training_that_nobody_expected_has_no_time_left_after_its_last_epoch() -> None:
    left = TimeLeft({}, clock=lambda: 5.0)
    left.begin()

    assert left.after(7, 0, 2, 2) == 0
