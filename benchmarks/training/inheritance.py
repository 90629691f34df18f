"""Searches whose candidates inherit weights beside searches that train all from nothing.

    python -m benchmarks.training.inheritance --kept KEPT [--data DATA] [--json FILE]
        [--problems digits cifar10] [--seeds 3] [--first 0] [--arms whole heirs ...]

For each seed of the sampler these searches: ``whole`` trains all by the recipe, ``heirs`` lets
candidates inherit, ``short`` trains all from nothing for the share of epochs that heirs have, and
``lines`` trains all for that share, heirs too. The last two have twice the trials.
Then each front is retrained from nothing by the whole recipe, as ``nas retrain --front`` does, and
what counts is the hypervolume of that, in accuracy and the logarithm of MACs; costs are MACs so
that no busy machine enters. ``work`` is what trainings took, in epochs times multiply-accumulates.
What ``whole`` found is retrained already: the same training again gives the same weights.

Everything stays in run folders below KEPT: an interrupted benchmark goes on where it was.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_table, write_json
from nas.export.retrain_front import retrain_front
from nas.problem.pareto import hypervolume
from nas.problem.run_file import RunFile, read_run_file
from nas.report.finish import test_confusions
from nas.runs.findings.retrained_front import RetrainedNetwork, same_order
from nas.search.run import run_search
from nas.study.results import RunResults

EXAMPLES = Path(__file__).parents[2] / "examples"
ARMS = ("whole", "heirs", "short", "lines")
CHEAP = ("short", "lines")
MORE = 2  # times the trials, where each takes so much less
WANTED_SHARE = 1 / 3  # of the training
HEIRS = ("epochs=0.2", "after=4", "afresh=0.05", "least_share=0.3")
# What all change in their run files: MACs instead of latencies, one worker, no baselines.
COMMON = (
    *("objectives=[accuracy, macs]", "baselines=[]", "search.workers=1"),
    *("search.initial=10", "training.device=cpu"),
)
# By name: the run file, what else changes in it, and the trials of ``whole``.
PROBLEMS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "digits": (
        "digits.yaml",
        ("constraints=[]", "reference={accuracy: 0.7, macs: 2000000}"),
        40,
    ),
    "digits_mixed": (
        "digits_mixed.yaml",
        ("constraints=[macs <= 2000000]", "reference={accuracy: 0.7, macs: 2000000}"),
        40,
    ),
    "cifar10": (
        "cifar10.yaml",
        (
            "constraints=[macs <= 6000000, size_bytes <= 2000000]",
            "reference={accuracy: 0.2, macs: 6000000}",
            *("data.train=4000", "data.validation=1000", "training.epochs=5"),
            "search.early_stopping=null",
        ),
        24,
    ),
}


def run_file(
    problem: str, arm: str, seed: int, heirs: Sequence[str], data: Path | None
) -> RunFile:
    name, changes, trials = PROBLEMS[problem]
    path = EXAMPLES / name
    count = trials * (MORE if arm in CHEAP else 1)
    given = [*COMMON, *changes, f"search.seed={seed}", f"search.trials={count}"]
    given += [f"name={problem}-{arm}-{seed}" + f"-{count}" * (arm in CHEAP)]
    if problem == "cifar10":
        if data is None:
            raise SystemExit("cifar10 needs --data, the folder of cifar10_train.parquet")
        given += [f"data.path={data}/cifar10_train.parquet"]
        given += [f"data.test_path={data}/cifar10_test.parquet"]
    if arm in ("heirs", "lines"):
        given += [f"search.inherit.{each}" for each in heirs]
    if arm in ("short", "lines"):
        share = float(dict(each.split("=") for each in heirs)["epochs"])
        epochs = max(1, round(share * read_run_file(path, given).training.epochs))
        warmup = min(1.0, share)
        given += [f"training.epochs={epochs}", f"training.warmup_epochs={warmup}"]
    if arm == "lines":
        given += ["search.inherit.epochs=1"]
    return read_run_file(path, given)


def searched(file: RunFile, kept: Path) -> RunResults:
    """Returns a finished search; one that is there goes on, or is read."""
    return run_search(file, kept, resume=(kept / file.name / "run.json").exists())


def measure(
    problem: str, arm: str, seed: int, heirs: Sequence[str], kept: Path, data: Path | None
) -> dict[str, Any]:
    """Returns a row: what a search's trainings took, and what its front is worth."""
    results = searched(run_file(problem, arm, seed, heirs, data), kept)
    epochs = run_file(problem, "whole", seed, heirs, data).training.epochs
    networks = as_found(results) if arm == "whole" else retrain_front(results, epochs)
    found = [trial.evaluation for trial in results.trials]
    after = [[each.values["accuracy"], each.values["macs"]] for each in networks]
    tested = [[each.test_values["accuracy"], each.values["macs"]] for each in networks]
    before = [[t.evaluation.values[m] for m in ("accuracy", "macs")] for t in results.front]
    return {
        "problem": problem,
        "arm": arm,
        "seed": seed,
        "heirs": sum(each.inherited is not None for each in found),
        "of": len(found),
        "training s": sum(each.seconds.get("training", 0.0) for each in found),
        "work": sum(each.epochs * each.values["macs"] for each in found),
        "front": len(networks),
        "hypervolume told": volume(results, before),
        "hypervolume": volume(results, after),
        "test hypervolume": volume(results, tested),
        "kendall": same_order(results, networks),
        "best accuracy": max(accuracy for accuracy, _ in after),
    }


def as_found(results: RunResults) -> tuple[RetrainedNetwork, ...]:
    """Returns the front of a search that trained all by the whole recipe."""
    tested = test_confusions(results)
    return tuple(
        RetrainedNetwork(
            trial.hash,
            trial.evaluation.values,
            trial.evaluation.epochs,
            on_front=True,
            test_values=tested[trial.hash].scores,
        )
        for trial in results.front
    )


def volume(results: RunResults, rows: Sequence[Sequence[float]]) -> float:
    """Returns the hypervolume of accuracies and MACs, of these the logarithm to the base of 10."""
    points = np.array(rows, dtype=np.float64)
    points[:, 1] = np.log10(points[:, 1])
    accuracy, macs = results.reference
    return hypervolume(points, (accuracy, float(np.log10(macs))), results.metrics)


def compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each problem and arm what it is beside the whole search of the same seed."""
    found = []
    for problem, arm in dict.fromkeys((row["problem"], row["arm"]) for row in rows):
        pairs = [
            (row, whole)
            for row in rows
            for whole in rows
            if (row["problem"], row["arm"]) == (problem, arm)
            and (whole["problem"], whole["arm"], whole["seed"]) == (problem, "whole", row["seed"])
        ]
        if not pairs:
            continue
        share = {
            name: float(np.mean([row[name] / whole[name] for row, whole in pairs]))
            for name in ("training s", "work", "hypervolume", "test hypervolume")
        }
        met = share["work"] <= WANTED_SHARE and share["hypervolume"] >= 1
        found.append({"problem": problem, "arm": arm, "seeds": len(pairs), **share, "met": met})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kept", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--data", type=Path, help="folder of the shared data")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=["digits", "cifar10"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--inherit", nargs="+", default=HEIRS, help="settings of search.inherit")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for problem in given.problems:
        for seed in range(given.first, given.first + given.seeds):
            for arm in given.arms:
                rows.append(measure(problem, arm, seed, given.inherit, given.kept, given.data))
                print_table(f"{problem} {arm} {seed}", rows[-1:])
    print_table("every search", rows)
    summary = compared(rows)
    if summary:
        print_table("beside the whole search of the same seed", summary)
    write_json(given.json, rows, {"inherit": list(given.inherit), "compared": summary})


if __name__ == "__main__":
    main()
