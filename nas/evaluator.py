"""Evaluator: finds out about one architecture, cheapest question first.

Costs come from the graph in microseconds, latency from a prediction in milliseconds or a
measurement in seconds, accuracy from training in minutes; a hard constraint that fails ends the
evaluation there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import perf_counter

from latency_models.device_lock import making_way
from latency_models.latency import Latency, MeasurementError, NotProfiledError
from nas.config import RunConfig
from nas.data.tensors import TensorSplits
from nas.evaluation import Evaluation
from nas.feasibility import violations_of, why_infeasible
from nas.latency_source import CandidateLatency, Finding, is_machines_fault
from nas.metrics import Phase
from nas.quantized_layers import NoRangeError
from nas.run_folder import RunFolder
from nas.trainer import TrainingDivergedError
from nas.training import CandidateTooLargeError, TrainingResult, train
from search_spaces.architecture import graph_hash
from search_spaces.cost import network_cost
from search_spaces.errors import UnsupportedOperatorError, UserError
from search_spaces.graph import Graph
from search_spaces.space import Architecture


class TrainingTooLongError(UserError):
    """A candidate that trains for longer than the search allows."""


# What ends one candidate and not the search.
CANDIDATES_FAULT = (
    MeasurementError,
    NotProfiledError,
    TrainingDivergedError,
    CandidateTooLargeError,
    NoRangeError,
    UnsupportedOperatorError,
    TrainingTooLongError,
)


class Evaluator:
    """Evaluates architectures one after another and writes each into the run folder.

    Args:
        source: Where latencies come from; None where the search asks for none.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TensorSplits,
        source: CandidateLatency | None,
        run: RunFolder,
    ) -> None:
        self.config = config
        self.data = data
        self.source = source
        self.run = run

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Returns what was found out; a candidate that fails is infeasible, with the reason."""
        steps = Steps(self.config)
        try:
            self.take_steps(architecture.graph, steps)
        except CANDIDATES_FAULT as error:
            if is_machines_fault(error):
                raise
            steps.reason = str(error)
        evaluation = steps.evaluation(graph_hash(architecture.graph))
        arrays = dict(steps.training.model.arrays) if steps.training else None
        self.run.save_evaluation(architecture, evaluation, arrays)
        return evaluation

    def take_steps(self, graph: Graph, steps: "Steps") -> None:
        with steps.phase("cost"):
            steps.values |= {name: float(value) for name, value in graph_values(graph).items()}
        if steps.hopeless():
            return
        if self.source is not None:
            with steps.phase("latency"):
                steps.learn_latency(self.source.before_training(graph))
            if steps.hopeless():
                return
        with steps.phase("training"), making_way() as make_way:
            limit = TimeLimit(self.config.search.training_limit_s, make_way)
            steps.training = train(
                graph, self.data, self.config.training, before_step=limit.before_step
            )
            steps.values["accuracy"] = steps.training.accuracy
        if steps.hopeless() or self.source is None or steps.finding is None:
            return
        with steps.phase("latency"):
            steps.learn_latency(self.source.after_training(graph, steps.finding, steps.values))
        steps.hopeless()


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
        self.finding: Finding | None = None
        self.training: TrainingResult | None = None

    @property
    def latency(self) -> Latency | None:
        return self.finding.latency if self.finding else None

    def learn_latency(self, finding: Finding) -> None:
        self.finding = finding
        self.values["latency_ms"] = finding.latency.median_ms

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def hopeless(self) -> bool:
        """Whether a hard constraint is violated by what is known."""
        self.reason = why_infeasible(self.config, self.values, self.latency)
        return self.reason is not None

    def evaluation(self, key: str) -> Evaluation:
        return Evaluation(
            hash=key,
            status="finished" if self.reason is None else "infeasible",
            reason=self.reason,
            values=self.values,
            violations=violations_of(self.config, self.values, self.latency),
            latency=self.latency,
            epochs=self.training.epochs_run if self.training else 0,
            accuracy_history=self.training.validation_accuracy if self.training else (),
            seconds=self.seconds,
            predicted=self.finding.predicted if self.finding else None,
            known_networks=self.finding.known_networks if self.finding else 0,
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
