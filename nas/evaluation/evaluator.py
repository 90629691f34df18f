"""Evaluator: finds out about one architecture, cheapest question first.

Costs come from the graph in microseconds, latency from a prediction in milliseconds or a
measurement in seconds, accuracy from training in minutes, and the size of an archive from what was
trained; a hard constraint that fails ends the evaluation there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

from latency_models.devices.latency import Latency, MeasurementError, NotProfiledError
from nas.evaluation.archive_size import archive_value, needs_archive
from nas.evaluation.feasibility import violations_of, why_infeasible
from nas.evaluation.free_rules import graph_values
from nas.evaluation.latency import CandidateLatency, Finding, is_machines_fault
from nas.nn.memory import CandidateTooLargeError
from nas.nn.quantized_layers import NoRangeError
from nas.problem.metrics import Phase
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation, Status
from nas.runs.folder import RunFolder
from nas.training.candidate import CandidateFailedError, CandidateTraining, TrainingTooLongError
from nas.training.loop import TrainingResult
from nas.training.trainer import TrainingDivergedError
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

# What ends one candidate and not the search.
CANDIDATES_FAULT = (
    MeasurementError,
    NotProfiledError,
    TrainingDivergedError,
    CandidateTooLargeError,
    NoRangeError,
    UnsupportedOperatorError,
    TrainingTooLongError,
    CandidateFailedError,
)


class Evaluator:
    """Evaluates architectures one after another and writes each into the run folder.

    Args:
        training: Trains the candidates that are worth it.
        source: Where latencies come from; None where the search asks for none.
    """

    def __init__(
        self,
        config: RunConfig,
        training: CandidateTraining,
        source: CandidateLatency | None,
        run: RunFolder,
    ) -> None:
        self.config = config
        self.training = training
        self.source = source
        self.run = run

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Returns what was found out; a candidate that fails is infeasible, with the reason."""
        steps = Steps(self.config)
        try:
            self.take_steps(architecture, steps)
        except CANDIDATES_FAULT as error:
            if is_machines_fault(error):
                raise
            steps.reason = str(error)
        evaluation = steps.evaluation(graph_hash(architecture.graph))
        arrays = None
        if steps.training is not None:
            model = steps.training.model
            architecture = replace(architecture, graph=model.graph)  # given ones name their nodes
            arrays = dict(model.arrays)
        self.run.save_evaluation(architecture, evaluation, arrays)
        self.training.forget(evaluation.hash)
        return evaluation

    def take_steps(self, candidate: Architecture, steps: "Steps") -> None:
        graph = candidate.graph
        with steps.phase("cost"):
            steps.values |= {name: float(value) for name, value in graph_values(graph).items()}
        if steps.hopeless():
            return
        if self.source is not None:
            with steps.phase("latency"):
                steps.learn_latency(self.source.before_training(graph))
            if steps.hopeless():
                return
        with steps.phase("training"):
            steps.training = self.training(candidate, steps.values)
        steps.learn_scores(steps.training)
        if needs_archive(self.config):
            with steps.phase("training"):
                steps.values |= archive_value(steps.training.model)
        if steps.stopped:  # an accuracy of few epochs breaks no constraint
            return
        if steps.hopeless() or self.source is None or steps.finding is None:
            return
        with steps.phase("latency"):
            steps.learn_latency(self.source.after_training(graph, steps.finding, steps.values))
        steps.hopeless()


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

    def learn_scores(self, training: TrainingResult) -> None:
        self.values |= training.scores
        self.seconds["training"] = training.seconds  # also those before it was taken up

    @property
    def stopped(self) -> bool:
        """Whether training ended before all its epochs were run."""
        return self.training is not None and not self.training.finished

    @property
    def epochs(self) -> int:
        return self.config.training.epochs

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

    def outcome(self) -> tuple[Status, str | None]:
        if self.reason is not None:
            return "infeasible", self.reason
        if self.training is not None and self.stopped:
            run = self.training.epochs_run
            return "stopped", f"stopped after {run} of {self.epochs} epochs by early stopping"
        return "finished", None

    def evaluation(self, key: str) -> Evaluation:
        status, reason = self.outcome()
        return Evaluation(
            hash=key,
            status=status,
            reason=reason,
            values=self.values,
            violations=violations_of(self.config, self.values, self.latency),
            latency=self.latency,
            epochs=self.training.epochs_run + self.training.shared_epochs if self.training else 0,
            accuracy_history=self.training.validation_accuracy if self.training else (),
            seconds=self.seconds,
            predicted=self.finding.predicted if self.finding else None,
            known_networks=self.finding.known_networks if self.finding else 0,
            confusion=self.training.confusion if self.training else None,
            inherited=self.training.inherited if self.training else None,
            weights=self.training.weights if self.training else "own",
        )
