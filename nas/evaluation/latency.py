"""Latency source: where the search's latencies come from: measured, predicted, or first one and
then, where it matters, the other.

A source is asked twice about a candidate: before training, when a constraint on latency can spare
the training, and after it, when the other objectives are known.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Protocol, runtime_checkable

import numpy as np

from latency_models.devices.latency import (
    DeviceBusyError,
    Latency,
    MeasurementError,
    NotProfiledError,
)
from latency_models.prediction.predictor import Predictor
from nas.evaluation.feasibility import is_uncertain, latency_rules
from nas.evaluation.kernel_table import KernelTimer
from nas.problem.formatting import duration
from nas.problem.metrics import Metric
from nas.problem.pareto import non_dominated
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from search_spaces.graphs.graph import Graph

BUSY_TRIES = 5  # each as long as the measurer itself waits
FIRST_MEASURED = 5  # candidates that are measured whatever is predicted
REFIT_EVERY = 5  # measured networks, after which the model is refitted

log = logging.getLogger("nas.search")


class LatencyMeasurer(Protocol):
    """Measures networks, as `latency_models.measurement.measurer.Measurer` does."""

    def latency(self, graph: Graph, /) -> Latency: ...


@runtime_checkable
class MayHurry(Protocol):
    """A measurer that can be told to wait for no quiet machine any more."""

    @property
    def is_hurried(self) -> bool: ...

    def hurry(self) -> None: ...


def hurry(measurer: object) -> None:
    """Lets a measurer wait for no quiet machine any more, where it can be told that."""
    if isinstance(measurer, MayHurry):
        measurer.hurry()


class NetworkTimer(LatencyMeasurer, KernelTimer, Protocol):
    """Measures networks and times their kernels."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a candidate's latency.

    Attributes:
        latency: By which it is judged: measured if it was measured, else predicted.
        predicted: What was predicted, before any measuring; None where nothing was.
        known_networks: Measured networks of the run that the prediction could learn from.
    """

    latency: Latency
    predicted: Latency | None = None
    known_networks: int = 0


class CandidateLatency(Protocol):
    """Where the latency of candidates comes from."""

    def before_training(self, graph: Graph) -> Finding:
        """Returns what is to be known of the latency before ``graph`` is trained.

        Raises:
            UnsupportedOperatorError: If the device cannot run an operator of ``graph``.
            NotProfiledError: If it can be neither predicted nor measured.
            MeasurementError: If it could not be measured.
        """
        ...

    def after_training(
        self, graph: Graph, finding: Finding, values: Mapping[str, float]
    ) -> Finding:
        """Returns what is to be known of the latency of a feasible candidate.

        Args:
            finding: What was known before.
            values: Every metric by name.

        Raises: as `before_training`.
        """
        ...


class Measured:
    """Measures every candidate before it is trained."""

    def __init__(self, measurer: LatencyMeasurer) -> None:
        self.measurer = measurer

    def before_training(self, graph: Graph) -> Finding:
        return Finding(patient_latency(self.measurer, graph))

    def after_training(
        self, graph: Graph, finding: Finding, values: Mapping[str, float]
    ) -> Finding:
        return finding


class Predicted:
    """Predicts every candidate; what the model does not know is the candidate's fault."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def before_training(self, graph: Graph) -> Finding:
        predicted = self.model.latency(graph)
        return Finding(predicted, predicted)

    def after_training(
        self, graph: Graph, finding: Finding, values: Mapping[str, float]
    ) -> Finding:
        return finding


class Hybrid:
    """Predicts, and measures where the prediction decides something that it is not sure of.

    Measured are the first few candidates, and then those that the model does not know, that
    neither keep nor break a constraint with enough confidence, or that may belong to the front.
    The model learns from them.

    Args:
        run: Where the other candidates' evaluations are, also those of other workers.
        first: How many candidates are measured whatever is predicted.
    """

    def __init__(
        self,
        config: RunConfig,
        run: RunFolder,
        measurer: LatencyMeasurer,
        model: Predictor,
        first: int = FIRST_MEASURED,
    ) -> None:
        self.config = config
        self.run = run
        self.measurer = measurer
        self.model = LearningModel(model, run)
        self.first = first

    def before_training(self, graph: Graph) -> Finding:
        try:
            predicted, known_networks = self.model.latency(graph)
        except NotProfiledError as error:
            log.info("measuring instead of predicting: %s", error)
            return Finding(patient_latency(self.measurer, graph))
        confidence = self.config.latency.confidence
        rules = latency_rules(self.config)
        # A model that is wrong here would otherwise never be found out.
        untried = len(measured_evaluations(self.run)) < self.first
        unsure = untried or any(is_uncertain(rule, predicted, confidence) for rule in rules)
        latency = patient_latency(self.measurer, graph) if unsure else predicted
        return Finding(latency, predicted, known_networks)

    def after_training(
        self, graph: Graph, finding: Finding, values: Mapping[str, float]
    ) -> Finding:
        if finding.latency.source == "measured":
            return finding
        best_case = {**values, "latency_ms": lowest_ms(finding.latency)}
        others = [each.values for each in self.run.evaluations() if each.feasible]
        if not belongs_to_front(best_case, others, self.config.objectives):
            return finding
        measured = patient_latency(self.measurer, graph)
        return Finding(measured, finding.predicted, finding.known_networks)


class LearningModel:
    """A model that is refitted as more networks of a run are measured.

    What it learns from are evaluations in the run folder, so a search that goes on, or another
    worker, predicts alike.

    Args:
        every: Measured networks, after which it is refitted.
    """

    def __init__(self, model: Predictor, run: RunFolder, every: int = REFIT_EVERY) -> None:
        self.fresh = model
        self.run = run
        self.every = every
        self.model = model
        self.learned: tuple[str, ...] = ()
        self._lock = Lock()  # candidates of a cluster are judged in threads

    def latency(self, graph: Graph) -> tuple[Latency, int]:
        """Returns the prediction, and how many networks of the run it could learn from.

        Raises: as `Predictor.latency`.
        """
        with self._lock:
            self.learn()
            return self.model.latency(graph), len(self.learned)

    def learn(self) -> None:
        """Refits the model where enough networks were measured since."""
        measured = measured_evaluations(self.run)
        measured = measured[: len(measured) // self.every * self.every]
        found = tuple(each.hash for each in measured)
        if found == self.learned:
            return
        networks = [
            (self.run.load_architecture(each.hash).graph, each.latency)
            for each in measured
            if each.latency is not None
        ]
        self.model = self.fresh.refitted(networks)
        self.learned = found
        log.info("the latency model was refitted with %d networks of this run", len(networks))


def measured_evaluations(run: RunFolder) -> list[Evaluation]:
    """Returns the evaluations whose latency is measured, in the order of measuring."""
    measured = [e for e in run.evaluations() if e.latency and e.latency.source == "measured"]
    return sorted(measured, key=lambda e: (measured_when(e), e.hash))


def measured_when(evaluation: Evaluation) -> str:
    latency = evaluation.latency
    return latency.conditions.date if latency and latency.conditions else ""


def lowest_ms(latency: Latency) -> float:
    """Returns the latency in the best case that counts as likely."""
    return latency.interval.low_ms if latency.interval else latency.median_ms


def belongs_to_front(
    values: Mapping[str, float], others: Sequence[Mapping[str, float]], metrics: Sequence[Metric]
) -> bool:
    """Whether none of ``others`` dominates ``values``."""
    rows = [[each[metric.name] for metric in metrics] for each in (*others, values)]
    return bool(non_dominated(np.array(rows, dtype=np.float64), metrics)[-1])


def is_machines_fault(error: Exception) -> bool:
    """Whether a measurement failed for no reason that lies in the network."""
    return isinstance(error, MeasurementError) and error.kind in ("busy", "unreachable")


def patient_latency(measurer: LatencyMeasurer, graph: Graph) -> Latency:
    """Returns the measured latency; a busy machine is waited for, several times over.

    A measurer that is to hurry is asked once.

    Raises:
        DeviceBusyError: If it stays busy; what is finished is kept, and the search resumable.
    """
    start = monotonic()
    for _ in range(BUSY_TRIES - 1):
        try:
            return measurer.latency(graph)
        except DeviceBusyError as error:
            if isinstance(measurer, MayHurry) and measurer.is_hurried:
                raise
            log.warning("waiting for a quiet machine: %s", error)
    try:
        return measurer.latency(graph)
    except DeviceBusyError as error:
        waited = duration(monotonic() - start)
        raise DeviceBusyError(
            f"{error} (tried {BUSY_TRIES} times in {waited}; what is finished is kept)"
        ) from None
