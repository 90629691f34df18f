"""A device that is not there: what it times takes what a formula says, on a clock of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from latency_models.boards.timing import TimingPlan
from latency_models.compiler.kernel_text import to_text
from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import AVX2, VectorUnit
from latency_models.devices.device import Device, Runtime
from latency_models.devices.latency import Latency
from search_spaces.graphs.graph import Graph
from tests.latency_models.parts.profiles import (
    CONDITIONS,
    kernel_ms,
    measured,
    network_ms,
    text_of,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def fine(text: str) -> None:
    """Nothing goes wrong."""


@dataclass
class FakeTimer:
    """Times kernels and networks in no time; its clock says otherwise.

    Attributes:
        before: Called with the text of each kernel or network, may raise.
        kernel_s: What a kernel takes by the clock; a network takes as much as ten.
        asked: The texts of each request.
    """

    before: Callable[[str], None] = fine
    kernel_s: float = 0.1
    factor: float = 1.0
    runtime: Runtime = "tvm"
    version: str = "1"
    now: float = 100.0
    asked: list[tuple[str, ...]] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    device: Device = field(default_factory=lambda: Device("formula", "not there"))
    vector_unit: VectorUnit = AVX2

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    def latency(self, network: Graph) -> Latency:
        self.asked.append((text_of(network),))
        self.now += 10 * self.kernel_s
        self.before(text_of(network))
        return self.read(network_ms(network, self.runtime, self.factor))

    def kernel_readings(
        self, graph: Graph, indices: Sequence[int], plan: TimingPlan
    ) -> tuple[Latency, ...]:
        assert plan.max_drift == self.device.max_drift
        uses = network_kernels(graph, self.runtime, AVX2)
        kernels = [uses[index].kernel for index in indices]
        self.asked.append(tuple(map(to_text, kernels)))
        for kernel in kernels:
            self.now += self.kernel_s
            self.before(to_text(kernel))
        return tuple(self.read(kernel_ms(kernel, self.factor)) for kernel in kernels)

    def read(self, ms: float) -> Latency:
        date = START + timedelta(seconds=self.now)
        conditions = replace(
            CONDITIONS,
            runtime=self.runtime,
            runtime_version=self.version,
            date=date.isoformat(timespec="seconds"),
        )
        return measured(ms, conditions)
