"""Timing on a machine whose clock, load and noise the test decides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import pytest

from latency_models.boards.timing import MS, TimedRuns, TimingPlan, block_of, time_blocks
from latency_models.devices.latency import DeviceBusyError

PLAN = TimingPlan(warmup_runs=2, min_runs=10, min_ms=50.0, window_ms=(4.0, 20.0), patience_s=5.0)


@dataclass
class Machine:
    """A machine that runs everything ``slowness(now_ms)`` times slower than when idle."""

    slowness: Callable[[float], float] = lambda now: 1.0
    now_ns: int = 0
    waited_s: float = 0.0
    calls: int = 0
    hurried_at_ms: float = inf

    def work(self, idle_ms: float) -> Callable[[], None]:
        def call() -> None:
            self.calls += 1
            self.now_ns += round(idle_ms * MS * self.slowness(self.now_ns / MS))

        return call

    def wait(self, seconds: float) -> None:
        self.waited_s += seconds
        self.now_ns += round(seconds * 1e9)

    def time(self, idle_ms: float, plan: TimingPlan = PLAN, best: float | None = 0.5) -> TimedRuns:
        block, reference = (block_of(self.work(ms), self.clock) for ms in (idle_ms, 0.5))
        return time_blocks(
            *(block, reference, best, plan),
            clock=self.clock,
            wait=self.wait,
            may_wait=lambda: self.now_ns / MS < self.hurried_at_ms,
        )

    def clock(self) -> int:
        return self.now_ns


def test_an_idle_machine_is_read_at_once() -> None:
    machine = Machine()

    reading = machine.time(2.0)

    assert set(reading.runs_ms) == {2.0}
    assert len(reading.runs_ms) >= 25  # 50 ms of them
    assert reading.drift == 1.0
    assert machine.waited_s == 0


def test_a_slow_network_still_gets_its_least_number_of_runs() -> None:
    assert len(Machine().time(100.0).runs_ms) == 10


def test_blocks_beside_a_slow_reference_do_not_count() -> None:
    machine = Machine(slowness=lambda now: 3.0 if 60 < now < 400 else 1.0)

    reading = machine.time(2.0)

    assert max(reading.runs_ms) == 2.0
    assert reading.drift < PLAN.max_drift
    assert machine.waited_s > 0


def test_a_machine_that_stays_busy_is_refused_with_figures() -> None:
    machine = Machine(slowness=lambda now: 3.0)

    with pytest.raises(DeviceBusyError, match=r"1\.50 ms, 3\.0 times its best.*5 s did not help"):
        machine.time(2.0)


def test_who_has_no_time_is_refused_after_a_second_but_not_for_a_moment() -> None:
    machine = Machine(slowness=lambda now: 3.0, hurried_at_ms=2000.0)
    with pytest.raises(DeviceBusyError, match="waiting 1 s did not help"):
        machine.time(2.0)
    assert 2000 < machine.now_ns / MS < 4000

    moment = Machine(slowness=lambda now: 3.0 if 60 < now < 400 else 1.0, hurried_at_ms=0.0)
    assert max(moment.time(2.0).runs_ms) == 2.0


def test_a_tolerant_plan_reads_a_busy_machine_and_tells_the_drift() -> None:
    reading = Machine(slowness=lambda now: 3.0).time(2.0, replace(PLAN, max_drift=4.0))

    assert reading.drift == 3.0
    assert set(reading.runs_ms) == {6.0}


def test_the_best_reference_time_is_found_where_none_is_known() -> None:
    reading = Machine().time(2.0, best=None)

    assert reading.best_reference_ms == 0.5


def test_a_better_reference_time_replaces_the_known_one() -> None:
    reading = Machine().time(2.0, best=0.8)

    assert reading.best_reference_ms == 0.5


def test_interruptions_that_short_work_escapes_are_seen_by_the_reference_windows() -> None:
    def slices(now: float) -> float:
        """Other work runs for 10 of every 20 ms: whatever begins then waits."""
        return 1.0 if now % 20 < 10 else 21.0

    with pytest.raises(DeviceBusyError):
        Machine(slowness=slices).time(20.0)


def test_warm_up_runs_are_not_timed() -> None:
    cold = Machine(slowness=lambda now: 50.0 if now < 150 else 1.0)

    assert max(cold.time(2.0).runs_ms) == 2.0
