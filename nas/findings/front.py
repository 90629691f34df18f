"""Front: what a run hands over, as JSON-ready data; reading it back needs no torch."""

from typing import Any

from nas.study.results import RunResults, TrialResult

FORMAT = "hwnas.front"
VERSION = 1
PICKS = ("best", "knee", "fastest")


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
