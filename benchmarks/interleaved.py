"""Calls timed in turns, so that a busy machine slows all of them alike."""

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

Call = Callable[[], object]


def interleaved_ms(
    calls: Sequence[Call],
    *,
    rounds: int,
    round_ms: float,
    warmup: int = 3,
    clock: Callable[[], float] = perf_counter,
) -> tuple[list[float], list[float]]:
    """Returns the median milliseconds of each call, and the spread (interquartile range).

    Args:
        rounds: How often each call gets its turn.
        round_ms: How long one turn takes, at least one run.
        clock: Seconds; ``time.thread_time`` leaves out what other programs on the core take, of
            calls that compute in this thread.
    """
    for call in calls:
        for _ in range(warmup):
            call()
    counts = [max(1, int(round_ms / max(1e-6, run_ms(call, 1, clock)))) for call in calls]
    times = [
        [run_ms(call, count, clock) for call, count in zip(calls, counts, strict=True)]
        for _ in range(rounds)
    ]
    low, median, high = np.percentile(times, [25, 50, 75], axis=0)
    return [float(t) for t in median], [float(t) for t in high - low]


def run_ms(call: Call, count: int, clock: Callable[[], float] = perf_counter) -> float:
    start = clock()
    for _ in range(count):
        call()
    return 1e3 * (clock() - start) / count
