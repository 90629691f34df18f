"""Final front: what a run hands over is trained, measured and written, however it was found."""

import logging
from collections.abc import Callable
from dataclasses import replace

from latency_models.devices.latency import DeviceBusyError, MeasurementError
from nas.evaluation.archive_size import with_written
from nas.evaluation.feasibility import with_measured
from nas.evaluation.latency import LatencyMeasurer, is_machines_fault, patient_latency
from nas.evaluation.supernet import supernet_lock
from nas.models.archives.archive import archive_bytes
from nas.runs.evaluation import Evaluation
from nas.runs.findings.trained import stored_trial
from nas.search.loop import SearchLoop
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.errors import UnsupportedOperatorError

log = logging.getLogger("nas.search")


def settle_front(
    read_results: Callable[[], RunResults],
    measurer: LatencyMeasurer,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Measures and archives the front until none of its numbers is a prediction or an estimate.

    Raises: as `measure_front`.
    """
    while True:
        measure_front(read_results, measurer, is_stopping)
        archive_front(read_results, is_stopping)
        if is_stopping() or not read_results().predicted_front:
            return


def measure_front(
    read_results: Callable[[], RunResults],
    measurer: LatencyMeasurer,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Measures predicted networks of the front, one by one, until all of the front is measured.

    Each measurement may change the front: a network that turns out slower makes way for others,
    or breaks a constraint. It ends because no network is measured twice.

    Args:
        read_results: Returns what the run's files now say.
        is_stopping: Whether to leave the rest for later.

    Raises:
        MeasurementError: If the device stays busy or away; what was measured is kept.
    """
    while not is_stopping():
        results = read_results()
        predicted = results.predicted_front
        if not predicted:
            return
        trial = predicted[0]
        try:
            evaluation = measured_evaluation(results, trial, measurer)
        except DeviceBusyError as error:
            if is_stopping():
                log.warning("%s of the front is left for --resume: %s", trial.name, error)
                return
            raise
        results.run.replace_evaluation(evaluation)
        log.info(
            "%s of the front was predicted %.4g ms, and %s; %d more to measure",
            trial.name,
            trial.evaluation.values["latency_ms"],
            evaluation.reason or f"measured {evaluation.values['latency_ms']:.4g} ms",
            len(predicted) - 1,
        )


def archive_front(
    read_results: Callable[[], RunResults], is_stopping: Callable[[], bool] = lambda: False
) -> None:
    """Finds out the true size of the archives of the front, one by one, as of its latencies.

    The files themselves are for ``nas export``; networks whose weights are gone, or are on another
    machine, keep their estimate.
    """
    while not is_stopping():
        results = read_results()
        estimated = results.estimated_front
        if not estimated:
            return
        trial = estimated[0]
        size = len(archive_bytes(stored_trial(results, trial)))
        evaluation = with_written(results.config, trial.evaluation, size)
        results.run.replace_evaluation(evaluation)
        log.info(
            "the archive of %s was estimated at %d bytes, and has %d; %d more to write",
            trial.name,
            evaluation.estimated_archive_bytes,
            size,
            len(estimated) - 1,
        )


def measured_evaluation(
    results: RunResults, trial: TrialResult, measurer: LatencyMeasurer
) -> Evaluation:
    """Returns a trial's evaluation with its measured latency; infeasible where it has none."""
    graph = results.run.load_architecture(trial.hash).graph
    try:
        latency = patient_latency(measurer, graph)
    except (MeasurementError, UnsupportedOperatorError) as error:
        if is_machines_fault(error):
            raise
        return replace(trial.evaluation, status="infeasible", reason=str(error))
    return with_measured(results.config, trial.evaluation, latency)


def tune_front(loop: SearchLoop, read_results: Callable[[], RunResults]) -> bool:
    """Trains the front's slices on, until it has none; returns whether there was any."""
    supernet = loop.config.search.supernet
    if loop.config.search.evaluation != "supernet" or not supernet.tune_epochs:
        return False
    tuned: set[str] = set()
    with supernet_lock(loop.run, loop.stop.is_set) as mine:
        while mine and not loop.stop.is_set():
            front = [t.hash for t in read_results().front if t.evaluation.weights == "slice"]
            left = [key for key in front if key not in tuned and loop.run.holds_slice(key)]
            if not left:
                break
            loop.notify(
                f"{len(left)} of the front were scored as slices of the supernet: training them "
                f"on for {supernet.tune_epochs} epochs"
            )
            loop.evaluate_again([loop.run.load_architecture(key) for key in left])
            tuned.update(left)
    return bool(tuned)
