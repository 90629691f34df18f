"""Profiler: times kernels and networks of a space on a device until its budget is used up.

Kernels and whole networks take turns, so that whenever it ends, both are there: kernels to learn
from, networks to tell what a whole takes beyond its parts and how far predictions are off.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic
from typing import TypeVar

from latency_models.device import Device
from latency_models.latency import Latency, MeasurementError
from latency_models.measure import Measurer
from latency_models.profiling.pool import Doubts, Pool, Wanted
from latency_models.profiling.readings import Reading, append_readings, read_readings
from latency_models.timing import TimingPlan
from search_spaces.architecture import to_json
from search_spaces.graph import Graph
from search_spaces.space import Architecture

T = TypeVar("T")
Draw = Callable[[Random], Graph]
KERNEL_PLAN = TimingPlan(warmup_runs=1, min_runs=5, min_ms=0.0, window_ms=(2.5, 5.0))
NETWORK_PLAN = TimingPlan(min_ms=100.0)
NETWORK_SHARE = 0.5  # of the time
POOL_SIZE = 800
FLUSH_S = 15.0  # how much measuring a kill may cost
REFIT_EVERY = 400  # kernels
RETIMED = 24  # kernels of earlier profiles that are timed again, to see whether the device changed
PATIENCE = 5  # times that an unreachable or busy device is tried again
KEPT_TRYING: tuple[str, ...] = ("unreachable", "busy")


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every reading.

    Attributes:
        seconds: Spent so far.
        left: Kernels of the drawn networks that nobody has timed.
    """

    kernels: int
    networks: int
    failures: int
    seconds: float
    budget_s: float
    left: int
    last: str


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Profiler:
    """One run of profiling.

    Attributes:
        fit: Makes a measure of doubt out of what is known; None where that is too little. It is
            called now and then.
    """

    measurer: Measurer
    folder: Path
    draw: Draw
    budget_s: float
    rng: Random
    fit: Callable[[Path], Doubts | None]
    on_progress: OnProgress = lambda progress: None
    clock: Callable[[], float] = monotonic
    pool_size: int = POOL_SIZE
    session: str = ""
    known: dict[str, float] = field(default_factory=dict)
    networks: int = 0
    kernels: int = 0
    failures: int = 0
    kernel_s: float = 0.0
    network_s: float = 0.0
    waiting: dict[str, list[Reading]] = field(default_factory=dict)
    files: int = 0

    def run(self) -> None:
        """Profiles until the budget is used up, or nothing is left to time.

        Raises:
            UserError: If the device cannot be used, or the profile cannot be written; what was
                timed before is kept.
        """
        start = self.clock()
        self.session = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        table = read_readings(self.folder, "kernels")
        self.known = dict(zip(table["text"], table["median_ms"], strict=True))
        earlier = [text for text in self.known if self.known[text] == self.known[text]]
        unit = self.measurer.vector_unit
        pool = Pool(self.draw, self.measurer.runtime, unit, self.rng, self.pool_size)
        self.retime(pool, earlier)
        try:
            self.take_turns(pool, start)
        finally:
            self.flush()

    def take_turns(self, pool: Pool, start: float) -> None:
        """Times kernels and networks in turns until the budget is used up."""
        fitted, flushed = self.assess(pool), start
        while (spent := self.clock() - start) < self.budget_s:
            begin, wanted = self.clock(), None
            if self.network_s >= NETWORK_SHARE * (self.kernel_s + self.network_s):
                wanted = pool.choose(self.known)
            if wanted is not None:
                self.time_kernels(wanted)
                self.kernel_s += self.clock() - begin
                last = wanted.kinds[0]
            else:
                last = self.time_network(self.draw(self.rng))
                self.network_s += self.clock() - begin
            self.tell(spent, pool.count_left(self.known), last)
            if self.clock() - flushed > FLUSH_S:
                self.flush()
                flushed = self.clock()
            if self.kernels - fitted >= REFIT_EVERY:
                self.flush()
                fitted = self.assess(pool)

    def assess(self, pool: Pool) -> int:
        """Tells the pool what a model of all that is known doubts; returns how much that is."""
        if (doubts := self.fit(self.folder)) is not None:
            pool.assess(doubts)
        return self.kernels

    def tell(self, spent: float, left: int, last: str) -> None:
        counts = self.kernels, self.networks, self.failures
        self.on_progress(Progress(*counts, spent, self.budget_s, left, last))

    def retime(self, pool: Pool, earlier: list[str]) -> None:
        """Times some kernels of earlier profiles again."""
        there = [text for text in earlier if text in set(pool.texts.values())]
        again = set(self.rng.sample(there, min(RETIMED, len(there))))
        for graph, kernels in pool.graphs:
            if not again:
                return
            found = {
                pool.texts[kernel]: (index, pool.kinds[kernel])
                for index, kernel in enumerate(kernels)
                if pool.texts[kernel] in again
            }
            if found:
                places = tuple(index for index, _ in found.values())
                kinds = tuple(kind for _, kind in found.values())
                self.time_kernels(Wanted(graph, places, tuple(found), kinds))
                again -= set(found)

    def time_kernels(self, wanted: Wanted) -> None:
        """Times kernels together; where that fails, one by one, so that one is at fault."""
        plan = replace(KERNEL_PLAN, max_drift=self.measurer.device.max_drift)
        try:
            latencies = self.patiently(
                lambda: self.measurer.kernel_readings(wanted.graph, wanted.indices, plan)
            )
        except MeasurementError as error:
            if error.kind in KEPT_TRYING:
                raise
            if len(wanted.indices) == 1:
                self.add("kernels", wanted.texts[0], wanted.kinds[0], None, str(error))
                return
            for each in zip(wanted.indices, wanted.texts, wanted.kinds, strict=True):
                index, text, kind = each
                self.time_kernels(Wanted(wanted.graph, (index,), (text,), (kind,)))
            return
        for text, kind, latency in zip(wanted.texts, wanted.kinds, latencies, strict=True):
            self.add("kernels", text, kind, latency)

    def time_network(self, graph: Graph) -> str:
        text = json.dumps(to_json(Architecture("", (), graph))["graph"])
        try:
            latency = self.patiently(lambda: self.measurer.latency(graph))
        except MeasurementError as error:
            if error.kind in KEPT_TRYING:
                raise
            self.add("networks", text, "", None, str(error))
            return "network failed"
        self.add("networks", text, "", latency)
        return f"network, {latency.median_ms:.4g} ms"

    def patiently(self, measure: Callable[[], T]) -> T:
        """Measures; a busy or unreachable device is tried again, several times over."""
        for _ in range(PATIENCE - 1):
            try:
                return measure()
            except MeasurementError as error:
                if error.kind not in KEPT_TRYING:
                    raise
        return measure()

    def add(
        self, what: str, text: str, kind: str, latency: Latency | None, failure: str = ""
    ) -> None:
        self.waiting.setdefault(what, []).append(
            Reading(text, kind, latency, failure, self.session)
        )
        self.failures += latency is None
        if what == "kernels":
            self.kernels += latency is not None
            self.known[text] = float("nan") if latency is None else latency.median_ms
        else:
            self.networks += latency is not None

    def flush(self) -> None:
        """Writes what was timed since the last time."""
        for what in ("kernels", "networks"):
            if readings := self.waiting.pop(what, []):
                append_readings(self.folder, what, self.files, readings)
                self.files += 1


def measurer_of(device: Device) -> Measurer:
    """Returns what a profiler measures with: networks are timed a little shorter than usual."""
    return Measurer(device, plan=replace(NETWORK_PLAN, max_drift=device.max_drift))
