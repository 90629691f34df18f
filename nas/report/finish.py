"""Finish: the front of a run is scored on the test images and written down.

The search has seen validation images only; test accuracy plays no part in any choice.
"""

import logging
from typing import Any

from latency_models.devices.latency import MeasurementError
from nas.evaluation.instruments import needs_latency, open_measurer
from nas.problem.search_problem import load_setting
from nas.report.kernel_times import measure_kernel_times
from nas.report.page import write_report
from nas.runs.files import write_json
from nas.study.results import RunResults, TrialResult
from nas.training.accuracy import accuracy
from search_spaces.graphs.errors import UnsupportedOperatorError

FORMAT = "hwnas.front"
VERSION = 1
log = logging.getLogger("nas.search")

PICKS = ("best", "knee", "fastest")


def finish_run(results: RunResults) -> None:
    """Writes ``front.json`` and the report; a search that is over is scored on the test images."""
    scores = test_accuracies(results) if results.is_over else {}
    write_json(results.run.front_file, front_data(results, scores))
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


def test_accuracies(results: RunResults) -> dict[str, float]:
    """Returns the test accuracy of every network on the front that was trained here, by hash."""
    elsewhere = results.run.elsewhere
    front = [t for t in results.front if t.evaluation.epochs and t.hash not in elsewhere]
    if not front:
        return {}
    test = load_setting(results.config).tensors.test
    return {trial.hash: accuracy(results.run.load_model(trial.hash), test) for trial in front}


def front_json(results: RunResults) -> dict[str, Any]:
    """Returns the front as JSON-ready data, with the test accuracies that are on file."""
    return front_data(results, results.test_accuracies)


def front_data(results: RunResults, scores: dict[str, float]) -> dict[str, Any]:
    picks = {which: results.pick(which).hash for which in PICKS} if results.front else {}
    return {
        "format": FORMAT,
        "version": VERSION,
        "objectives": {metric.name: metric.direction for metric in results.metrics},
        "front": [row(trial, picks, scores) for trial in results.front],
        "baselines": [row(trial, picks, scores) for trial in results.baselines],
    }


def row(trial: TrialResult, picks: dict[str, str], scores: dict[str, float]) -> dict[str, Any]:
    evaluation = trial.evaluation
    data: dict[str, Any] = {
        "trial": trial.number,
        "name": trial.name,
        "hash": trial.hash,
        "values": dict(evaluation.values),
        "feasible": evaluation.feasible,
        "epochs": evaluation.epochs,
        "picks": [which for which, key in picks.items() if key == trial.hash],
        "genes": dict(trial.genes),
    }
    if evaluation.latency is not None:
        data["latency_spread_ms"] = evaluation.latency.spread_ms
        data["latency_source"] = evaluation.latency.source
    if evaluation.predicted is not None:
        data["predicted_latency_ms"] = evaluation.predicted.median_ms
    if trial.hash in scores:
        data["test_accuracy"] = scores[trial.hash]
    return data
