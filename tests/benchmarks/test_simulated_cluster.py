"""The simulated cluster does what can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulated_cluster import (
    Times,
    bounds,
    simulate,
    steady_window,
    throughput,
    utilisation,
)
from benchmarks.work_log import Spell, WorkLog, gaps_s, overhead_s


def same(count: int, **seconds: float) -> Times:
    """Returns candidates that all take the same."""
    names = ("ask", "measure", "hand_over", "gap", "train", "file")
    return Times(**{name: np.full(count, seconds.get(name, 0.0)) for name in names})


def test_one_worker_and_one_slot_wait_for_every_step() -> None:
    times = same(50, ask=0.1, measure=0.2, hand_over=0.3, gap=0.4, train=6.0, file=0.5)

    outcome = simulate(times, workers=1, slots=1)

    assert outcome.wall_s == pytest.approx(50 * 7.5)
    assert utilisation(outcome.begin, outcome.end, 1) == pytest.approx(6.0 / 7.5)


def test_a_second_slot_hides_all_but_the_hand_over() -> None:
    times = same(50, ask=0.1, measure=0.2, hand_over=0.3, gap=0.4, train=6.0, file=0.5)

    outcome = simulate(times, workers=1, slots=2)

    assert utilisation(outcome.begin, outcome.end, 1) == pytest.approx(6.0 / 6.7)


def test_workers_that_cost_nothing_are_never_idle() -> None:
    outcome = simulate(same(60, train=2.0), workers=4, slots=5)

    assert outcome.wall_s == pytest.approx(60 / 4 * 2.0)
    assert utilisation(outcome.begin, outcome.end, 4) == pytest.approx(1.0)


def test_a_device_that_is_too_slow_sets_the_pace() -> None:
    times = same(200, measure=1.0, train=3.0)

    outcome = simulate(times, workers=8, slots=10)

    assert throughput(outcome.begin, 8) == pytest.approx(1.0)
    assert utilisation(outcome.begin, outcome.end, 8) == pytest.approx(3.0 / 8, rel=0.02)
    assert min(bounds(times, 8).items(), key=lambda bound: bound[1]) == ("device", 1.0)


def test_a_driver_that_is_too_slow_sets_the_pace() -> None:
    times = same(500, ask=0.05, hand_over=0.05, file=0.1, train=1.0)

    outcome = simulate(times, workers=16, slots=17)

    assert throughput(outcome.begin, 16) == pytest.approx(5.0, rel=0.02)
    assert bounds(times, 16)["driver"] == pytest.approx(5.0)


def test_the_pace_never_exceeds_what_any_part_can_do() -> None:
    rng = np.random.default_rng(0)
    for workers in (1, 3, 20):
        times = Times(*(rng.exponential(mean, 800) for mean in (0.1, 0.2, 0.05, 0.1, 3.0, 0.1)))
        outcome = simulate(times, workers, workers + max(1, workers // 4))

        assert throughput(outcome.begin, workers) <= min(bounds(times, workers).values()) * 1.1
        assert (outcome.end - outcome.begin) == pytest.approx(times.train)
        changes = [(t, 1) for t in outcome.begin] + [(t, -1) for t in outcome.end]
        assert np.cumsum([change for _, change in sorted(changes)]).max() <= workers


def test_times_must_be_of_the_same_candidates() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Times(*(np.zeros(n) for n in (3, 3, 3, 3, 3, 2)))


def test_a_steady_window_needs_more_trainings_than_workers() -> None:
    with pytest.raises(ValueError, match="more trainings than the 3 workers"):
        steady_window(np.arange(3.0), 3)


def test_overhead_is_the_time_of_all_workers_less_the_work() -> None:
    """Two workers do a piece every 0.8 s, whose work is 0.5 s."""
    spells = [Spell(i % 2, 0.4 * i, 0.4 * i + 0.5) for i in range(10)]

    assert overhead_s(spells, workers=2, skipped=2, work_s=0.5) == pytest.approx(0.3)
    assert gaps_s(spells) == pytest.approx([0.3] * 8)


def test_work_is_on_file_in_the_order_in_which_it_ends(tmp_path: Path) -> None:
    log = WorkLog(tmp_path, workers=1)
    with log.working(), log.working():
        pass
    inner, outer = log.spells()

    assert outer.start <= inner.start <= inner.end <= outer.end
    assert inner.process == outer.process
