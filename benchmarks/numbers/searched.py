"""Searched: what each sampler finds in 20 trials whose latencies are given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.numbers.figures import Figure, digest
from nas.cli.search import about_latency
from nas.problem.pareto import hypervolume
from nas.problem.records import SAMPLERS
from nas.problem.run_file import RunFile
from nas.runs.findings.prediction_quality import latency_quality
from nas.search.run import run_search
from nas.study.results import RunResults
from nas.study.stopping import in_one_line
from tests.nas.parts.latencies import MacsModel, Stopwatch, instruments
from tests.nas.parts.tiny import tiny

TRIALS = 20
OBJECTIVES = ["accuracy", "latency_ms", "size_bytes"]
PRECISE: dict[str, Any] = {
    "resolution": 8,
    "round_to": 32,
    "activation": ["relu", "relu6"],
    "stem": {"width": [8, 16], "stride": 2, "precision": ["fp32", "w8a8"]},
    "stages": [
        {
            "depth": [1, 2],
            "width": [32, 64],
            "stride": [1, 2],
            "prune_ratio": [0.0, 0.5],
            "precision": ["fp32", "w8a8", "w4a4", "w1a2", "bwn", "xnor"],
            "blocks": [{"plain": {"kernel_size": [1, 3]}}, "residual_basic", "skip"],
        }
    ],
}
SEARCHES: Mapping[str, dict[str, Any]] = {
    "predicted": {"latency": {"source": "predicted"}},
    "hybrid": {"latency": {"source": "hybrid"}, "constraints": ["latency_ms <= 0.06"]},
    "stopped early": {
        "training": {"epochs": 3},
        "search": {"trials": 12, "early_stopping": {"grace_epochs": 1, "reduction": 2}},
    },
    "constrained": {"constraints": ["latency_ms <= 0.03", "params <= 2500"]},
    "precise": {"space": PRECISE, "search": {"trials": 10}},
    "with baselines": {
        "baselines": [
            {"network": "mobilenet_v2", "width": 0.1, "resolution": 32},
            {"network": "squeezenet_1_1", "width": 0.1, "resolution": 32, "precision": "w8a8"},
        ],
        "search": {"trials": 4},
    },
}


def search_figures(folder: Path) -> dict[str, Figure]:
    samplers = {name: {"search": {"sampler": name}} for name in SAMPLERS}
    return {
        name: about(searched(name, changes, folder))
        for name, changes in {**samplers, **SEARCHES}.items()
    }


def run_file(name: str, changes: Mapping[str, Any]) -> RunFile:
    """A search of few digits for accurate, fast and small networks."""
    search_section = {"trials": TRIALS, "initial": 6} | changes.get("search", {})
    wanted = {**changes, "search": search_section, "objectives": OBJECTIVES}
    return tiny(name=name.replace(" ", "_"), **wanted)


def searched(name: str, changes: Mapping[str, Any], folder: Path) -> RunResults:
    given = instruments(MacsModel(factor=1.1), Stopwatch())
    return run_search(run_file(name, changes), folder, instruments=given)


def about(results: RunResults) -> Figure:
    front = results.front
    return {
        "hashes": [trial.hash for trial in results.trials],
        "numbers": [list(trial.numbers) for trial in results.trials],
        "genes": digest([dict(trial.genes) for trial in results.trials]),
        "status": [trial.evaluation.status for trial in results.trials],
        "reasons": sorted({trial.evaluation.reason or "" for trial in results.trials}),
        "values": {trial.name: dict(trial.evaluation.values) for trial in results.trials},
        "violations": digest([dict(trial.evaluation.violations) for trial in results.trials]),
        "history": digest([list(trial.evaluation.accuracy_history) for trial in results.trials]),
        "front": [trial.hash for trial in front],
        "picks": [results.pick(which).name for which in ("best", "knee", "fastest")],
        "hypervolume": hypervolume(results.points(front), results.reference, results.metrics),
        "duplicates": [results.num_duplicates, results.num_failed, results.num_replaced],
        "latencies": latency_quality(results).num_predicted,
        "in words": [about_latency(results), in_one_line(results)],
    }
