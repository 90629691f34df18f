"""Simulated cluster: how busy its workers are, for more of them than there are machines to try.

A candidate is asked for, perhaps measured on the one device, handed to a worker that is free,
trained there, and filed and told. The driver is one server, first come first served: its threads
share one interpreter. So is the device. Of the candidates, ``slots`` are under way at once, more
than there are workers, so that the next one is at hand when a worker is free.

What is left out: that a node fails, that workers come late, and that the driver's costs may grow
with the number of workers.
"""

import heapq
from collections import deque
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of N candidates, in the order in which they are asked for; arrays of shape (N,).

    Attributes:
        ask: Of the driver, until a candidate is ready to be measured or trained.
        measure: Of the device; 0 where nothing is measured.
        hand_over: Of the driver, to bring it to a worker that is free.
        gap: Until that worker begins, of nobody's time.
        train: Of the worker.
        file: Of the driver, to file and tell what came out.
    """

    ask: Array
    measure: Array
    hand_over: Array
    gap: Array
    train: Array
    file: Array

    def __post_init__(self) -> None:
        shapes = {getattr(self, field.name).shape for field in fields(self)}
        if len(shapes) != 1 or len(shapes.pop()) != 1:
            raise ValueError("times must be arrays of one shape (N,), one number a candidate")

    def __len__(self) -> int:
        return len(self.train)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened.

    Attributes:
        begin: When the training of each candidate began, shape (N,), seconds.
        end: When it ended.
        wall_s: When the last one was told.
    """

    begin: Array
    end: Array
    wall_s: float


class Step(IntEnum):
    """What a candidate has come to."""

    ASKED = 0
    MEASURED = 1
    HANDED_OVER = 2
    TRAINED = 3
    TOLD = 4


class Server:
    """Serves one at a time, in the order in which it is asked."""

    def __init__(self) -> None:
        self.free_at = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """Returns when a request of ``now`` is done; times may not go back between calls."""
        self.free_at = max(now, self.free_at) + seconds
        return self.free_at


def simulate(times: Times, workers: int, slots: int) -> Outcome:
    """Returns when each candidate is trained, with ``slots`` of them under way at once."""
    driver, device = Server(), Server()
    begin, end = np.zeros(len(times)), np.zeros(len(times))
    events: list[tuple[float, int, Step]] = []  # when which candidate comes to which step
    waiting: deque[int] = deque()
    unasked = deque(range(len(times)))
    idle, now = workers, 0.0

    def ask_next() -> None:
        if unasked:
            i = unasked.popleft()
            heapq.heappush(events, (driver.serve(now, times.ask[i]), i, Step.ASKED))

    def hand_over() -> None:
        nonlocal idle
        while idle and waiting:
            idle -= 1
            i = waiting.popleft()
            begin[i] = driver.serve(now, times.hand_over[i]) + times.gap[i]
            heapq.heappush(events, (begin[i], i, Step.HANDED_OVER))

    for _ in range(slots):
        ask_next()
    while events:
        now, i, step = heapq.heappop(events)
        if step == Step.ASKED:
            heapq.heappush(events, (device.serve(now, times.measure[i]), i, Step.MEASURED))
        elif step == Step.MEASURED:
            waiting.append(i)
            hand_over()
        elif step == Step.HANDED_OVER:
            end[i] = now + times.train[i]
            heapq.heappush(events, (end[i], i, Step.TRAINED))
        elif step == Step.TRAINED:
            idle += 1
            hand_over()
            heapq.heappush(events, (driver.serve(now, times.file[i]), i, Step.TOLD))
        else:
            ask_next()
    return Outcome(begin, end, now)


def without_measuring(times: Times) -> Times:
    """Returns the same candidates where nothing is measured."""
    return replace(times, measure=np.zeros(len(times)))


def steady_window(begin: Array, workers: int) -> tuple[float, float]:
    """Returns from when as many trainings have begun as there are workers, until the last begins.

    Raises:
        ValueError: If there are no more trainings than workers.
    """
    if len(begin) <= workers:
        raise ValueError(f"needs more trainings than the {workers} workers, got {len(begin)}")
    in_order = np.sort(begin)
    return float(in_order[workers - 1]), float(in_order[-1])


def utilisation(begin: Array, end: Array, workers: int) -> float:
    """Returns the share of the workers' time in which they train, once all could have begun."""
    since, until = steady_window(begin, workers)
    busy = np.clip(np.minimum(end, until) - np.maximum(begin, since), 0.0, None)
    return float(busy.sum() / (workers * (until - since)))


def throughput(begin: Array, workers: int) -> float:
    """Returns trainings a second, once all workers could have begun."""
    since, until = steady_window(begin, workers)
    return float((len(begin) - workers) / (until - since))


def bounds(times: Times, workers: int) -> dict[str, float]:
    """Returns how many candidates a second each part could do, if it never had to wait."""
    driver_s = float((times.ask + times.hand_over + times.file).mean())
    worker_s = float((times.hand_over + times.gap + times.train).mean())
    device_s = float(times.measure.mean())
    return {
        "workers": workers / worker_s,
        "driver": 1 / driver_s if driver_s else np.inf,
        "device": 1 / device_s if device_s else np.inf,
    }
