"""Profiler: times kernels and networks of a space on a device until its budget is used up.

Kernels and whole networks take turns, so that whenever it ends, both are there: kernels to learn
from, networks to tell what a whole takes beyond its parts and how far predictions are off.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import TYPE_CHECKING, Protocol, TypeVar, get_args

from latency_models.boards.timing import TimingPlan
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Device, Runtime
from latency_models.devices.latency import Conditions, DeviceBusyError, Latency, MeasurementError
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.readings import Reading, What, append_readings, read_readings
from latency_models.prediction.fitting import known_under
from latency_models.profiling.pool import Doubts, Pool, Wanted
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Draw = Callable[[Random], Graph]
KERNEL_PLAN = TimingPlan(warmup_runs=1, min_runs=5, min_ms=0.0, window_ms=(2.5, 5.0))
NETWORK_PLAN = TimingPlan(min_ms=100.0)
NETWORK_SHARE = 0.5  # of the time
POOL_SIZE = 800
FLUSH_S = 15.0  # how much measuring a kill may cost
REFIT_EVERY = 400  # kernels
RETIMED = 24  # kernels of earlier profiles that are timed again, to see whether the device changed
# Before a device is tried again that is unreachable, or so busy that a reading waited in vain.
PAUSES_S: dict[str, tuple[float, ...]] = {"unreachable": (1.0, 4.0, 15.0, 60.0), "busy": (5.0,)}
DRAWS = 200  # in search of a network that was not timed
LEAST_POOL = 50  # networks that are drawn; of more, one for each second of the budget
FAILURES = (MeasurementError, UnsupportedOperatorError)  # which cost one kernel or network


class Timer(Protocol):
    """What a profiler measures with, a `Measurer`."""

    @property
    def device(self) -> Device: ...

    @property
    def runtime(self) -> Runtime: ...

    @property
    def vector_unit(self) -> VectorUnit: ...

    def latency(self, network: Graph) -> Latency: ...

    def kernel_readings(
        self, graph: Graph, indices: Sequence[int], plan: TimingPlan
    ) -> tuple[Latency, ...]: ...


@dataclass(frozen=True, slots=True)
class ProfileProgress:
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


OnProgress = Callable[[ProfileProgress], None]


@dataclass(slots=True)
class Profiler:
    """One run of profiling.

    Attributes:
        fit: Makes a measure of doubt out of what is known; None where that is too little. It is
            called now and then.
    """

    measurer: Timer
    folder: Path
    draw: Draw
    budget_s: float
    rng: Random
    fit: Callable[[Path], Doubts | None]
    on_progress: OnProgress = lambda progress: None
    clock: Callable[[], float] = monotonic
    wait: Callable[[float], None] = sleep
    pool_size: int = POOL_SIZE
    session: str = ""
    earlier: dict[What, "pd.DataFrame"] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    networks_known: set[str] = field(default_factory=set)
    all_drawn: bool = False
    networks: int = 0
    kernels: int = 0
    failures: int = 0
    kernel_s: float = 0.0
    network_s: float = 0.0
    waiting: dict[What, list[Reading]] = field(default_factory=dict)
    files: int = 0

    def run(self) -> None:
        """Profiles until the budget is used up, or nothing is left to time.

        Raises:
            UserError: If the device cannot be used, or the profile cannot be written; what was
                timed before is kept.
        """
        start = self.clock()
        self.session = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self.earlier = {what: read_readings(self.folder, what) for what in get_args(What)}
        unit = self.measurer.vector_unit
        size = min(self.pool_size, max(LEAST_POOL, round(self.budget_s)))
        pool = Pool(self.draw, self.measurer.runtime, unit, self.rng, size)
        try:
            self.retime(pool)
            self.take_turns(pool, start)
        finally:
            self.flush()

    def take_turns(self, pool: Pool, start: float) -> None:
        """Times kernels and networks in turns until the budget is used up."""
        fitted, flushed = self.assess(pool), start
        while (spent := self.clock() - start) < self.budget_s:
            begin, wanted, graph = self.clock(), None, None
            kernels_turn = self.network_s >= NETWORK_SHARE * (self.kernel_s + self.network_s)
            if kernels_turn:
                wanted = pool.choose(self.known)
            if wanted is None:
                graph = self.new_network(pool)
            if graph is None and not kernels_turn:
                wanted = pool.choose(self.known)
            if wanted is not None:
                self.time_kernels(wanted)
                self.kernel_s += self.clock() - begin
                last = wanted.kinds[0]
            elif graph is not None:
                last = self.time_network(graph)
                self.network_s += self.clock() - begin
            else:
                return
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
        self.on_progress(ProfileProgress(*counts, spent, self.budget_s, left, last))

    def new_network(self, pool: Pool) -> Graph | None:
        """A random network that nobody has timed; None once many draws gave none."""
        for _ in range(0 if self.all_drawn else DRAWS):
            graph = self.draw(self.rng)
            if text_of(graph) not in self.networks_known and pool.runs(graph):
                return graph
        self.all_drawn = True
        return None

    def retime(self, pool: Pool) -> None:
        """Times some kernels of earlier profiles again."""
        rows = self.earlier["kernels"]
        earlier, texts = rows[rows["median_ms"].notna()]["text"], set(pool.texts.values())
        there = [text for text in dict.fromkeys(earlier) if text in texts]
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
        except FAILURES as error:
            if is_gone(error):
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
        text = text_of(graph)
        try:
            latency = self.patiently(lambda: self.measurer.latency(graph))
        except FAILURES as error:
            if is_gone(error):
                raise
            self.add("networks", text, "", None, str(error))
            return "network failed"
        self.add("networks", text, "", latency)
        return f"network, {latency.median_ms:.4g} ms"

    def patiently(self, measure: Callable[[], T]) -> T:
        """Measures; a busy or unreachable device is tried again.

        Raises: what ``measure`` does; of a device that stays as it is, with how long was tried.
        """
        start, tries = self.clock(), 0
        while True:
            try:
                return measure()
            except MeasurementError as error:
                pauses = PAUSES_S.get(error.kind, ())
                if tries == len(pauses):
                    raise lasting(error, tries, self.clock() - start) from None
            self.wait(pauses[tries])
            tries += 1

    def add(
        self, what: What, text: str, kind: str, latency: Latency | None, failure: str = ""
    ) -> None:
        if latency is not None and self.earlier and latency.conditions is not None:
            self.learn_earlier(latency.conditions)
        self.waiting.setdefault(what, []).append(
            Reading(text, kind, latency, failure, self.session)
        )
        self.failures += latency is None
        if what == "kernels":
            self.kernels += latency is not None
            self.known[text] = float("nan") if latency is None else latency.median_ms
        else:
            self.networks += latency is not None
            self.networks_known.add(text)

    def learn_earlier(self, conditions: Conditions) -> None:
        """Takes what was timed under the same conditions as known, once these are known."""
        earlier, self.earlier = self.earlier, {}
        self.known = known_under(earlier["kernels"], conditions) | self.known
        self.networks_known |= known_under(earlier["networks"], conditions).keys()

    def flush(self) -> None:
        """Writes what was timed since the last time."""
        for what in get_args(What):
            if readings := self.waiting.pop(what, []):
                append_readings(self.folder, what, self.files, readings)
                self.files += 1


def text_of(graph: Graph) -> str:
    return json.dumps(to_json(Architecture("", (), graph))["graph"])


def lasting(error: MeasurementError, tries: int, seconds: float) -> MeasurementError:
    """Returns the error of the last of several tries, with what they were; one of one as it is."""
    if not tries:
        return error
    tried = f"{error} (tried {tries + 1} times in {seconds:.0f} s; what was timed is kept)"
    return DeviceBusyError(tried) if error.kind == "busy" else MeasurementError(error.kind, tried)


def is_gone(error: Exception) -> bool:
    """Whether it is the device that failed, and no kernel or network."""
    return isinstance(error, MeasurementError) and error.kind in PAUSES_S


def measurer_of(device: Device) -> Measurer:
    """Returns what a profiler measures with: networks are timed a little shorter than usual."""
    return Measurer(device, plan=replace(NETWORK_PLAN, max_drift=device.max_drift))
