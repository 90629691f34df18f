"""Evaluator: finds out about one architecture, cheapest question first.

Costs come from the graph in microseconds, latency from a measurement in seconds, accuracy from
training in minutes; a hard constraint that fails ends the evaluation there.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import perf_counter

from latency_models.device_lock import making_way
from latency_models.latency import DeviceBusyError, Latency, MeasurementError
from latency_models.measure import Measurer
from nas.config import RunConfig
from nas.data.tensors import TensorSplits
from nas.evaluation import Evaluation
from nas.metrics import Phase, violations
from nas.quantized_layers import NoRangeError
from nas.run_folder import RunFolder
from nas.trainer import TrainingDivergedError
from nas.training import CandidateTooLargeError, TrainingResult, train
from search_spaces.architecture import graph_hash
from search_spaces.cost import network_cost
from search_spaces.errors import UnsupportedOperatorError, UserError
from search_spaces.graph import Graph
from search_spaces.model import Array
from search_spaces.space import Architecture

BUSY_TRIES = 5  # each as long as the measurer itself waits

log = logging.getLogger("nas.search")


class TrainingTooLongError(UserError):
    """A candidate that trains for longer than the search allows."""


# What ends one candidate and not the search.
CANDIDATES_FAULT = (
    MeasurementError,
    TrainingDivergedError,
    CandidateTooLargeError,
    NoRangeError,
    UnsupportedOperatorError,
    TrainingTooLongError,
)


class Evaluator:
    """Evaluates architectures one after another and writes each into the run folder."""

    def __init__(
        self, config: RunConfig, data: TensorSplits, measurer: Measurer | None, run: RunFolder
    ) -> None:
        self.config = config
        self.data = data
        self.measurer = measurer
        self.run = run

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Returns what was found out; a candidate that fails is infeasible, with the reason."""
        steps = Steps(self.config)
        arrays: dict[str, Array] | None = None
        try:
            arrays = self.take_steps(architecture.graph, steps)
        except DeviceBusyError:
            raise  # the machine's fault, not the candidate's
        except CANDIDATES_FAULT as error:
            steps.reason = str(error)
        evaluation = steps.evaluation(graph_hash(architecture.graph))
        self.run.save_evaluation(architecture, evaluation, arrays)
        return evaluation

    def take_steps(self, graph: Graph, steps: "Steps") -> dict[str, Array] | None:
        with steps.phase("cost"):
            steps.values |= {name: float(value) for name, value in graph_values(graph).items()}
        if steps.hopeless():
            return None
        if self.measurer is not None:
            with steps.phase("latency"):
                steps.latency = self.measured(self.measurer, graph)
                steps.values["latency_ms"] = steps.latency.median_ms
            if steps.hopeless():
                return None
        with steps.phase("training"), making_way() as make_way:
            limit = TimeLimit(self.config.search.training_limit_s, make_way)
            steps.training = train(
                graph, self.data, self.config.training, before_step=limit.before_step
            )
            steps.values["accuracy"] = steps.training.accuracy
        steps.hopeless()
        return dict(steps.training.model.arrays)

    def measured(self, measurer: Measurer, graph: Graph) -> Latency:
        """Returns the latency; a busy machine is waited for, several times over.

        Raises:
            DeviceBusyError: If it stays busy; what is finished is kept, and the search resumable.
        """
        for _ in range(BUSY_TRIES - 1):
            try:
                return measurer.latency(graph)
            except DeviceBusyError as error:
                log.warning("waiting for a quiet machine: %s", error)
        return measurer.latency(graph)


class TimeLimit:
    """Ends a training that takes too long; waiting for a measurement does not count."""

    def __init__(self, limit_s: float | None, make_way: Callable[[], None]) -> None:
        self.limit_s = limit_s
        self.make_way = make_way
        self.start = perf_counter()

    def before_step(self) -> None:
        before = perf_counter()
        if self.limit_s is not None and before - self.start > self.limit_s:
            raise TrainingTooLongError(
                f"training must end within search.training_limit_s (={self.limit_s:g}), and goes "
                "on; raise that limit, or take large candidates out of the space"
            )
        self.make_way()
        self.start += perf_counter() - before


class Steps:
    """What is known so far about the architecture under evaluation."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.values: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self.reason: str | None = None
        self.latency: Latency | None = None
        self.training: TrainingResult | None = None

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = perf_counter() - start

    def hopeless(self) -> bool:
        """Whether a hard constraint is violated by what is known."""
        broken = [
            f"{rule} is violated by {self.values[rule.metric.name]:.6g}"
            for rule in self.config.constraints
            if rule.metric.name in self.values
            and rule.violation(self.values[rule.metric.name]) > 0
        ]
        if broken:
            self.reason = "; ".join(broken)
        return bool(broken)

    def evaluation(self, key: str) -> Evaluation:
        return Evaluation(
            hash=key,
            status="finished" if self.reason is None else "infeasible",
            reason=self.reason,
            values=self.values,
            violations=violations(self.config.constraints, self.values),
            latency=self.latency,
            epochs=self.training.epochs_run if self.training else 0,
            accuracy_history=self.training.validation_accuracy if self.training else (),
            seconds=self.seconds,
        )


def graph_values(graph: Graph) -> dict[str, int]:
    """Returns the metrics that the graph alone tells."""
    values: dict[str, int] = asdict(network_cost(graph))
    values["size_bytes"] = values.pop("weight_bytes")
    return values


def affordable(config: RunConfig, graph: Graph) -> bool:
    """Whether a graph keeps every constraint that it alone decides."""
    values = graph_values(graph)
    return all(
        rule.violation(values[rule.metric.name]) <= 0
        for rule in config.constraints
        if rule.metric.name in values
    )
