"""Timing: the median of many runs, taken only while the machine can be trusted.

Blocks of runs alternate with windows of a reference kernel. A block counts only if the windows
on both sides of it ran at nearly their best time; the others are thrown away and waited out. A
window is about as long as one run, so that it meets the same interruptions: on a machine whose
cores are shared by time slices, short work would slip through undisturbed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns, sleep

from latency_models.devices.latency import DeviceBusyError

Call = Callable[[], object]
Clock = Callable[[], int]
# Runs something for about so many nanoseconds, at least once; gives the milliseconds of each run.
Block = Callable[[float], Sequence[float]]

MS = 1_000_000  # nanoseconds
HURRIED_S = 1.0  # patience of whoever has no time to wait: a moment's disturbance costs no reading


@dataclass(frozen=True, slots=True)
class TimingPlan:
    """How long to time, and what to put up with.

    Attributes:
        warmup_runs: Runs before the first timed one.
        min_runs: Timed runs that count, at least.
        min_ms: Milliseconds of timed runs that count, at least.
        window_ms: Shortest and longest window of the reference kernel.
        max_drift: A block counts where the reference ran at most this many times its best.
        patience_s: Seconds spent on blocks that do not count before giving up.
        pause_s: Wait after a block that does not count; it doubles each time in a row.
    """

    warmup_runs: int = 3
    min_runs: int = 20
    min_ms: float = 200.0
    window_ms: tuple[float, float] = (4.0, 20.0)
    max_drift: float = 1.35
    patience_s: float = 60.0
    pause_s: float = 0.05


@dataclass(frozen=True, slots=True)
class TimedRuns:
    """What was timed.

    Attributes:
        runs_ms: Every run that counts.
        reference_ms: Median of the reference windows beside them.
        best_reference_ms: The best window known, from before or from this reading.
    """

    runs_ms: tuple[float, ...]
    reference_ms: float
    best_reference_ms: float

    @property
    def drift(self) -> float:
        return self.reference_ms / self.best_reference_ms


def time_blocks(
    block: Block,
    reference: Block,
    best_reference_ms: float | None,
    plan: TimingPlan,
    *,
    clock: Clock = perf_counter_ns,
    wait: Callable[[float], None] = sleep,
    may_wait: Callable[[], bool] = lambda: True,
) -> TimedRuns:
    """Returns the timed runs of ``block``, whose clock may be elsewhere.

    Args:
        best_reference_ms: Best time of the reference kernel on this machine; None finds it now.
        clock: Monotonic, in nanoseconds.
        may_wait: Whether there is time to wait for a quiet machine; else patience is a second.

    Raises:
        DeviceBusyError: If too few blocks counted while ``plan.patience_s`` passed.
    """
    for _ in range(plan.warmup_runs):
        block(0)
    shortest, longest = plan.window_ms
    window_ns = min(max(block(0)[0], shortest), longest) * MS
    best = best_reference_ms or calibrate(reference, window_ns)

    runs: list[float] = []
    windows: list[float] = []
    lost_ns, misses = 0, 0
    before = reference(window_ns)
    while len(runs) < plan.min_runs or sum(runs) < plan.min_ms:
        start = clock()
        block(0)  # not counted: the reference kernel has just had the caches
        counted = block(window_ns)
        after = reference(window_ns)
        sides = [sum(window) / len(window) for window in (before, after)]
        best = min(best, *sides)
        before = after
        if max(sides) <= plan.max_drift * best:
            runs += counted
            windows += sides
            misses = 0
            continue
        wait(min(plan.pause_s * 2**misses, 1.0))
        misses += 1
        lost_ns += clock() - start
        patience_s = plan.patience_s if may_wait() else min(plan.patience_s, HURRIED_S)
        if lost_ns > patience_s * 1e9:
            raise DeviceBusyError(
                f"the reference kernel takes {max(sides):.2f} ms, {max(sides) / best:.1f} times "
                f"its best; a reading needs at most {plan.max_drift} times, and waiting "
                f"{patience_s:g} s did not help"
            )
    return TimedRuns(tuple(runs), median(windows), best)


def calibrate(reference: Block, window_ns: float, windows: int = 20) -> float:
    """Returns the best of some windows of the reference kernel, in milliseconds a run."""
    reference(0)
    times = (reference(window_ns) for _ in range(windows))
    return min(sum(window) / len(window) for window in times)


def block_of(call: Call, clock: Clock = perf_counter_ns) -> Block:
    """Returns the block that makes ``call``, which must block until its work is done."""

    def block(duration_ns: float) -> list[float]:
        times: list[int] = []
        left = duration_ns
        while not times or left > 0:
            start = clock()
            call()
            times.append(clock() - start)
            left -= times[-1]
        return [time / MS for time in times]

    return block
