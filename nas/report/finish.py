"""Finish: the front of a run is scored on the test images and written down.

The search has seen validation images only; test accuracy plays no part in any choice.
"""

import logging

from latency_models.devices.latency import MeasurementError
from nas.evaluation.instruments import needs_latency, open_measurer
from nas.problem.answers import Confusion
from nas.problem.search_problem import load_setting
from nas.report.page import write_report
from nas.runs.files import write_json
from nas.runs.findings.front import front_data
from nas.runs.findings.kernel_times import measure_kernel_times
from nas.study.results import RunResults, TrialResult
from nas.training.accuracy import confusion
from search_spaces.graphs.errors import UnsupportedOperatorError

log = logging.getLogger("nas.search")


def finish_run(results: RunResults) -> None:
    """Writes ``front.json`` and the report; a search that is over is scored on the test images."""
    tested = test_confusions(results) if results.is_over else {}
    accuracies = {key: answers.accuracy for key, answers in tested.items()}
    write_json(results.run.front_file, front_data(results, accuracies, tested))
    time_knee(results)
    write_report(results)


def time_knee(results: RunResults) -> None:
    """Times each kernel of the knee for the report, where the run's runtime tells them."""
    if not results.front or not needs_latency(results.config):
        return
    try:
        with open_measurer(results.config) as measurer:
            if measurer.runtime == "tvm":
                measure_kernel_times(results.run, results.pick("knee"), measurer)
    except (MeasurementError, UnsupportedOperatorError) as error:
        log.warning("the kernels of the knee have no times: %s", error)


def trained_here(results: RunResults) -> list[TrialResult]:
    """Returns the networks of the front whose weights belong into this run's folder."""
    elsewhere = results.run.elsewhere
    # What was trained or given with its weights has answered; older runs kept epochs alone.
    return [
        trial
        for trial in results.front
        if (trial.evaluation.epochs or trial.evaluation.confusion is not None)
        and trial.hash not in elsewhere
    ]


def without_weights(results: RunResults) -> list[TrialResult]:
    """Returns networks of the front whose weights are gone: they had left it once."""
    return [t for t in trained_here(results) if not results.run.has_weights(t.hash)]


def test_confusions(results: RunResults) -> dict[str, Confusion]:
    """Returns the test answers of every network on the front whose weights are here, by hash."""
    front = [t for t in trained_here(results) if results.run.has_weights(t.hash)]
    if not front:
        return {}
    test = load_setting(results.config).tensors.test
    return {trial.hash: confusion(results.run.load_model(trial.hash), test) for trial in front}
