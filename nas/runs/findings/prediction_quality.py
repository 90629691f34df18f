"""Prediction quality: how far a run's guesses were off, where it found out the truth too.

That is latencies, predicted and then measured, and archives, estimated and then written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latency_models.devices.latency import Latency
from nas.evaluation.feasibility import excess, latency_rules
from nas.problem.formatting import percent
from nas.problem.metrics import ARCHIVE_BYTES
from nas.study.results import RunResults, TrialResult

CLOSE = 0.1  # share by which a close prediction is off at most


@dataclass(frozen=True, slots=True)
class Compared:
    """A candidate whose latency was predicted, and measured afterwards.

    Attributes:
        accepted: Whether the prediction kept every constraint on latency with enough confidence.
        violates: Whether the measurement breaks one.
    """

    trial: TrialResult
    predicted: Latency
    measured: Latency
    accepted: bool
    violates: bool

    @property
    def error(self) -> float:
        """The prediction less the measurement, as a share of the measurement."""
        return self.predicted.median_ms / self.measured.median_ms - 1

    @property
    def is_inside(self) -> bool:
        """Whether the measurement lies in the prediction's interval."""
        interval = self.predicted.interval
        return interval is not None and (
            interval.low_ms <= self.measured.median_ms <= interval.high_ms
        )


@dataclass(frozen=True, slots=True)
class LatencyQuality:
    """What became of a run's predicted latencies.

    Attributes:
        num_predicted: Candidates whose latency was only predicted.
        num_measured: Candidates whose latency was measured.
        compared: Those that were measured after they were predicted.
    """

    num_predicted: int
    num_measured: int
    compared: tuple[Compared, ...]

    @property
    def mape(self) -> float | None:
        """Mean absolute error as a share of the measurement; None where nothing is compared."""
        return mean([abs(each.error) for each in self.compared])

    @property
    def close(self) -> float | None:
        """Share of predictions within 10 % of the measurement."""
        return mean([abs(each.error) <= CLOSE for each in self.compared])

    @property
    def inside(self) -> float | None:
        """Share of measurements inside their interval, of those that had one."""
        return mean([each.is_inside for each in self.compared if each.predicted.interval])

    @property
    def num_accepted(self) -> int:
        return sum(each.accepted for each in self.compared)

    @property
    def num_violating(self) -> int:
        """Those accepted by prediction that break a constraint on latency when measured."""
        return sum(each.accepted and each.violates for each in self.compared)

    @property
    def violation_rate(self) -> float | None:
        """Share of those accepted by prediction that break a constraint when measured."""
        return self.num_violating / self.num_accepted if self.num_accepted else None


def latency_quality(results: RunResults) -> LatencyQuality:
    """Returns how the run's predictions compare with its measurements."""
    found = [t.evaluation.latency for t in results.trials if t.evaluation.latency is not None]
    sources = [latency.source for latency in found]
    compared = (compare(results, trial) for trial in results.trials)
    return LatencyQuality(
        sources.count("predicted"),
        sources.count("measured"),
        tuple(each for each in compared if each is not None),
    )


def compare(results: RunResults, trial: TrialResult) -> Compared | None:
    """Returns prediction and measurement of a trial; None where it lacks one."""
    predicted, latency = trial.evaluation.predicted, trial.evaluation.latency
    if predicted is None or latency is None or latency.source == "predicted":
        return None
    rules, confidence = latency_rules(results.config), results.config.latency.confidence
    return Compared(
        trial,
        predicted,
        latency,
        accepted=bool(rules) and all(excess(r, predicted, confidence) <= 0 for r in rules),
        violates=any(excess(rule, latency, confidence) > 0 for rule in rules),
    )


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def in_one_line(quality: LatencyQuality) -> str:
    """Returns the quality in words.

    >>> in_one_line(LatencyQuality(4, 2, ()))
    'latencies: 4 only predicted, 2 measured'
    """
    line = f"latencies: {quality.num_predicted} only predicted, {quality.num_measured} measured"
    if quality.mape is not None:
        line += f"; predictions are off by {percent(quality.mape)} on average"
    return f"{line}; {said}" if (said := violations_in_words(quality)) else line


def violations_in_words(quality: LatencyQuality) -> str:
    """Returns the budget-violation rate with its count; "" where none was accepted.

    >>> violations_in_words(LatencyQuality(4, 2, ()))
    ''
    """
    if quality.violation_rate is None:
        return ""
    return (
        f"{quality.num_violating} of {quality.num_accepted} accepted by prediction violate the "
        f"budget when measured ({percent(quality.violation_rate)})"
    )


@dataclass(frozen=True, slots=True)
class ComparedArchive:
    """A candidate whose archive was estimated, and written afterwards."""

    trial: TrialResult
    estimated_bytes: int
    written_bytes: int

    @property
    def error(self) -> float:
        """The estimate less the file, as a share of the file."""
        return self.estimated_bytes / self.written_bytes - 1


@dataclass(frozen=True, slots=True)
class ArchiveQuality:
    """What became of a run's estimated sizes.

    Attributes:
        num_estimated: Candidates whose archive was only estimated.
        compared: Those that were written after they were estimated.
    """

    num_estimated: int
    compared: tuple[ComparedArchive, ...]

    @property
    def mape(self) -> float | None:
        """Mean absolute error as a share of the files; None where none was written."""
        return mean([abs(each.error) for each in self.compared])


def archive_quality(results: RunResults) -> ArchiveQuality:
    """Returns how the run's estimates compare with its files."""
    compared = []
    for trial in results.trials:
        estimated = trial.evaluation.estimated_archive_bytes
        if estimated is not None:
            written = round(trial.evaluation.values[ARCHIVE_BYTES])
            compared.append(ComparedArchive(trial, estimated, written))
    estimated_only = sum(trial.evaluation.is_archive_estimated for trial in results.trials)
    return ArchiveQuality(estimated_only, tuple(compared))


def archives_in_one_line(quality: ArchiveQuality) -> str:
    """Returns the quality in words.

    >>> archives_in_one_line(ArchiveQuality(4, ()))
    'archive sizes: 4 only estimated, 0 written'
    """
    written = len(quality.compared)
    line = f"archive sizes: {quality.num_estimated} only estimated, {written} written"
    if quality.mape is not None:
        line += f"; estimates are off by {percent(quality.mape)} on average"
    return line
