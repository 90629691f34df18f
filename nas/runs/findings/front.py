"""Front: what a run hands over, as JSON-ready data; reading it back needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nas.problem.answers import Confusion, confusion_to_json, wilson
from nas.problem.metrics import ARCHIVE_BYTES, QUALITIES
from nas.runs.certainty import num_images
from nas.runs.findings.retrained_front import read_retrained_front
from nas.study.results import RunResults, TrialResult

FORMAT = "hwnas.front"
VERSION = 1
PICKS = ("best", "knee", "fastest")


def front_json(results: RunResults) -> dict[str, Any]:
    """Returns the front as JSON-ready data, with the test accuracies that are on file.

    Where it was retrained, that front is there too.
    """
    data = front_data(results, results.test_accuracies, results.test_confusions)
    retrained = read_retrained_front(results.run)
    return data | ({"retrained": [asdict(each) for each in retrained]} if retrained else {})


def front_data(
    results: RunResults, accuracies: Mapping[str, float], tested: Mapping[str, Confusion]
) -> dict[str, Any]:
    picks = {which: results.pick(which).hash for which in PICKS} if results.front else {}
    rows = {
        trial.hash: row(results, trial, picks) | test_row(results, trial, accuracies, tested)
        for trial in (*results.front, *results.baselines)
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "objectives": {metric.name: metric.direction for metric in results.metrics},
        "front": [rows[trial.hash] for trial in results.front],
        "baselines": [rows[trial.hash] for trial in results.baselines],
    }


def row(results: RunResults, trial: TrialResult, picks: dict[str, str]) -> dict[str, Any]:
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
    if ARCHIVE_BYTES in evaluation.values:
        estimated = evaluation.estimated_archive_bytes
        data["archive_source"] = "estimated" if estimated is None else "written"
        data |= {} if estimated is None else {"estimated_archive_bytes": estimated}
    if evaluation.inherited is not None:
        data["inherited"] = asdict(evaluation.inherited)
    found = {metric.name: results.interval(trial, metric) for metric in QUALITIES}
    known = {name: [each.low, each.high] for name, each in found.items() if each}
    return data | ({"intervals": known} if known else {})


def test_row(
    results: RunResults,
    trial: TrialResult,
    accuracies: Mapping[str, float],
    tested: Mapping[str, Confusion],
) -> dict[str, Any]:
    """Returns what is known of a network on the test images."""
    if trial.hash not in accuracies:
        return {}
    data: dict[str, Any] = {"test_accuracy": accuracies[trial.hash]}
    if count := num_images(results.run, "test"):
        interval = wilson(accuracies[trial.hash], count)
        data["test_interval"] = [interval.low, interval.high]
    if (confusion := tested.get(trial.hash)) is not None:
        data["test_values"] = confusion.scores
        data["test_confusion"] = confusion_to_json(confusion)
    return data
