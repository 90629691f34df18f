"""Stand-ins for what finds out latencies: small real objects whose numbers are known."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import exp, log
from typing import Any

from latency_models.devices.latency import Interval, Latency, MeasurementError, NotProfiledError
from latency_models.measurement.measurer import KernelLatency
from latency_models.prediction.predictor import Explanation
from nas.evaluation.instruments import Instruments
from nas.problem.records import RunConfig
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.runs import CONDITIONS

MS_PER_MAC = 1e-6


def true_ms(graph: Graph) -> float:
    """What measuring finds: in proportion to the MACs, give or take a tenth by the hash."""
    return network_cost(graph).macs * MS_PER_MAC * (0.9 + int(graph_hash(graph), 16) % 100 / 500)


def predicted(ms: float, width: float = 1.2) -> Latency:
    """A prediction that is off by less than the factor ``width`` with probability 0.9."""
    return Latency(ms, 0.0, "predicted", None, Interval(ms / width, ms * width), "stand-in")


def measured(ms: float) -> Latency:
    return Latency(ms, 0.0, "measured", replace(CONDITIONS, date=datetime.now(UTC).isoformat()))


@dataclass(frozen=True)
class MacsModel:
    """Predicts from MACs alone, first wrongly by ``factor``; a refit puts that right.

    Attributes:
        unknown: Whether a graph was never profiled.
        refits: With how many networks each refit was made.
    """

    factor: float = 1.0
    width: float = 1.2
    unknown: Callable[[Graph], bool] = lambda graph: False
    refits: list[int] = field(default_factory=list)

    @property
    def about(self) -> dict[str, Any]:
        return {"device": "host", "cpu": "Example CPU 9000", "networks": 24}

    def latency(self, graph: Graph, *, extrapolate: bool = False) -> Latency:
        if self.unknown(graph) and not extrapolate:
            raise NotProfiledError("host has no profile of 'conv2d 3x3 fp32'; profile it")
        return predicted(network_cost(graph).macs * MS_PER_MAC * self.factor, self.width)

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        return tuple(self.latency(graph, extrapolate=extrapolate) for graph in graphs)

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        return Explanation(self.latency(graph, extrapolate=extrapolate), (), 0.0)

    def refitted(self, networks: Sequence[tuple[Graph, Latency]]) -> "MacsModel":
        self.refits.append(len(networks))
        ratios = [
            log(latency.median_ms / (network_cost(graph).macs * MS_PER_MAC))
            for graph, latency in networks
        ]
        return replace(self, factor=exp(sum(ratios) / len(ratios)))


@dataclass
class Stopwatch:
    """Measures `true_ms`, and remembers what was measured.

    Attributes:
        failing: The error that a graph's measurement ends with, if one does.
    """

    failing: Callable[[Graph], MeasurementError | None] = lambda graph: None
    measured: list[str] = field(default_factory=list)

    @property
    def device_name(self) -> str:
        return "host"

    def latency(self, graph: Graph) -> Latency:
        self.measured.append(graph_hash(graph))
        if error := self.failing(graph):
            raise error
        return measured(true_ms(graph))

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]:
        return ()


def instruments(model: MacsModel | None = None, stopwatch: Stopwatch | None = None) -> Instruments:
    """Instruments that are given, in this process."""
    given_model, given_stopwatch = model or MacsModel(), stopwatch or Stopwatch()

    def open_stopwatch(config: RunConfig) -> AbstractContextManager[Stopwatch]:
        return nullcontext(given_stopwatch)

    return Instruments(open_stopwatch, lambda config: given_model)


def fresh_stopwatch(config: RunConfig) -> AbstractContextManager[Stopwatch]:
    """For worker processes, which open their own."""
    return nullcontext(Stopwatch())


def fresh_model(config: RunConfig) -> MacsModel:
    return MacsModel(factor=1.1)
