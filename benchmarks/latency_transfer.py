"""Latency on an unseen device from a few measurements, on published tables.

    python -m benchmarks.latency_transfer --table ../shared/data/nb201_latency.parquet \\
        --tasks ../shared/data/latency_tasks.json \\
        --accuracy-table ../shared/data/nb201_accuracy.parquet
    python -m benchmarks.latency_transfer --table other.csv --sources a,b,c --targets d,e

Of a target device only the measured samples are looked at before scoring. Each seed draws another
pool of candidates, from which the samples are chosen. Protocols:

- ``nd``: NASFLAT's task ND, scored on all architectures that were not measured.
- ``help``: HELP's split: samples from the first 900 rows, scored on rows 900 to 1899 without each
  device's fastest and slowest tenth. ``profiles`` 900 hides the sources' latencies of all rows but
  the first 900, which is all that the published methods had.
- hard splits, whose sources are unlike the targets.

Beside the transfer model stand trivial ones: FLOPs, the source that agrees best with the samples,
all sources weighted by agreement, and ridge regression on the architectures' coarse features.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.report import print_table, write_json
from benchmarks.transfer.latency_table import LatencyTable, read_table
from benchmarks.transfer.model import fit_transfer
from latency_models.transfer.profiles import Profiles, learn_profiles
from latency_models.transfer.samples import choose_samples

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

DEAD = 0.05  # of a device's median: networks of constant output, left out of relative errors
HELP_KNOWN, HELP_TEST = 900, 1000
GPUS = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
# Sources unlike their targets, of devices in the NAS-Bench-201 table.
HARD = {
    "phones to GPUs": (
        ("essential_ph_1", "pixel2", "pixel3", "samsung_a50", "samsung_s7"),
        tuple(f"{gpu}_{batch}" for gpu in GPUS for batch in (1, 256)),
    ),
    "GPUs to others": (
        tuple(f"{gpu}_1" for gpu in GPUS),
        ("eyeriss", "fpga", "gold_6240", "pixel3", "raspi4", "samsung_a50", "silver_4114"),
    ),
    "accelerators to others": (
        ("eyeriss", "fpga"),
        ("2080ti_1", "gold_6226", "pixel2", "raspi4", "silver_4210r", "titanxp_256"),
    ),
}


@dataclass(frozen=True, slots=True)
class Task:
    """Source and target devices, number of samples, and what is scored.

    Attributes:
        name: Of the protocol.
        sources: Devices with profiles.
        targets: Devices to predict.
        samples: Measurements on a target.
        choice: "active", "random", or "given" with ``given``.
        known: How many rows, from the first, the sources were measured on; None for all.
        given: Rows to measure.
    """

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    samples: int
    choice: str = "active"
    known: int | None = None
    given: tuple[int, ...] = ()

    @property
    def is_help(self) -> bool:
        return self.name == "help"


def spearman(a: Array, b: Array) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def scored_rows(task: Task, target: Array, measured: Indices) -> Indices:
    """The architectures that count, without the measured ones."""
    rows = np.arange(len(target))
    if task.is_help:
        rows = rows[HELP_KNOWN : HELP_KNOWN + HELP_TEST]
        tenth = len(rows) // 10
        rows = rows[target[rows].argsort(kind="stable")][tenth : len(rows) - tenth]
    return np.setdiff1d(rows[~np.isnan(target[rows])], measured)


def choose(task: Task, profiles: Profiles, target: Array, rng: np.random.Generator) -> Indices:
    if task.choice == "given":
        return np.array(task.given)
    usable = np.flatnonzero(~np.isnan(target))  # what the table can answer
    limit = HELP_KNOWN if task.is_help else task.known
    usable = usable[usable < limit] if limit else usable
    if task.choice == "random":
        return rng.choice(usable, task.samples, replace=False)
    return choose_samples(profiles, task.samples, rng, usable)


def best_source(sources: Array, rows: Indices, measured: Array) -> Array:
    """The source that agrees best with the samples, scaled to them."""
    agreement = [spearman(sources[rows, s], measured) for s in range(sources.shape[1])]
    best = sources[:, int(np.nanargmax(agreement))]
    return best * np.median(measured / best[rows])


def weighted_sources(sources: Array, rows: Indices, measured: Array) -> Array:
    """A regression on each source, weighted by its correlation with the samples."""
    logs, target = np.log(sources), np.log(measured)
    total, weights = np.zeros(len(sources)), 0.0
    for column in logs.T:
        x, y = column[rows] - column[rows].mean(), target - target.mean()
        weight = max(float((x @ y) / np.sqrt((x @ x) * (y @ y) + 1e-12)), 1e-3)
        slope = (x @ y) / (x @ x + 1e-3 * len(x))
        total += weight * (target.mean() + slope * (column - column[rows].mean()))
        weights += weight
    return np.exp(total / weights)


def ridge(features: Array, rows: Indices, measured: Array) -> Array:
    """Ridge regression of milliseconds on features; its strength by leave-one-out error."""
    x = (features - features.mean(0)) / np.maximum(features.std(0), 1e-9)
    x = x - x[rows].mean(0)
    gram, target = x[rows] @ x[rows].T, measured - measured.mean()
    best: tuple[float, Array] = (np.inf, target)
    for strength in np.geomspace(1e-3, 1e3, 13):
        inverse = np.linalg.inv(gram + strength * np.eye(len(rows)))
        dual = inverse @ target
        # A row left out: strength * dual is the residual, 1 - hat its share of itself.
        hat = 1 - strength * np.diag(inverse) + 1 / len(rows)
        error = float(np.mean((strength * dual / np.maximum(1 - hat, 1e-9)) ** 2))
        if error < best[0]:
            best = (error, dual)
    predicted = measured.mean() + x @ (x[rows].T @ best[1])
    return np.maximum(predicted, DEAD * np.median(measured))


Scores = dict[str, float]


def score(predicted: Array, target: Array, rows: Indices) -> Scores:
    alive = rows[target[rows] > DEAD * np.nanmedian(target)]
    error = np.abs(predicted[alive] / target[alive] - 1)
    return {
        "spearman": spearman(predicted[rows], target[rows]),
        "mape": float(error.mean()),
        "within_10": float((error < 0.1).mean()),
    }


def run_seed(
    task: Task, table: LatencyTable, profiles: Profiles, target: Array, flops: Array | None,
    seed: int, baselines: bool,
) -> dict[str, Scores]:  # fmt: skip
    """Scores of each method, from one choice of samples."""
    rows = choose(task, profiles, target, np.random.default_rng(seed))
    measured = target[rows]
    asked = scored_rows(task, target, rows)
    model = fit_transfer(profiles, rows, measured)
    predicted = model.predict(profiles.sources, profiles.features)
    inside = (target >= predicted.low_ms) & (target <= predicted.high_ms)
    found = {
        "transfer": score(predicted.median_ms, target, asked)
        | {
            "coverage": float(inside[asked].mean()),
            "width": float(np.median((predicted.high_ms / predicted.low_ms)[asked])),
        }
    }
    if baselines:
        sources = table.columns(task.sources)
        found["best source"] = score(best_source(sources, rows, measured), target, asked)
        found["weighted sources"] = score(weighted_sources(sources, rows, measured), target, asked)
        found["ridge on features"] = score(ridge(table.features[0], rows, measured), target, asked)
        if flops is not None:
            scaled = flops * np.median(measured / flops[rows])
            found["FLOPs"] = score(scaled, target, asked)
    return found


def run_task(
    task: Task, table: LatencyTable, flops: Array | None, seeds: int
) -> list[dict[str, Any]]:
    """A row for every method and device: means over seeds, and the spread of Spearman."""
    sources = table.columns(task.sources).copy()
    if task.known is not None:
        sources[task.known :] = np.nan
    profiles = learn_profiles(sources, table.features)
    baselines = task.known is None and task.choice == "active"
    rows = []
    for device in task.targets:
        target = table.columns([device])[:, 0]
        runs = [
            run_seed(task, table, profiles, target, flops, seed, baselines)
            for seed in range(1 if task.choice == "given" else seeds)
        ]
        for method in runs[0]:
            values = pd.DataFrame([run[method] for run in runs])
            means = {str(k): float(v) for k, v in values.mean().items()}
            spread = {"min": float(values.spearman.min()), "max": float(values.spearman.max())}
            rows.append(_row(task, method, device, means | spread))
    return rows


def _row(task: Task, method: str, device: str, scores: Scores) -> dict[str, Any]:
    keys = ("spearman", "min", "max", "mape", "within_10", "coverage", "width")
    return {
        "task": task.name,
        "samples": task.samples,
        "choice": task.choice,
        "profiles": "all" if task.known is None else str(task.known),
        "method": method,
        "device": device,
    } | {key: scores.get(key, float("nan")) for key in keys}


def mean_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over devices of every task and method; of min and max too."""
    frame = pd.DataFrame(rows)
    keys = ["task", "samples", "choice", "profiles", "method"]
    means = frame.drop(columns="device").groupby(keys, sort=False).mean().reset_index()
    return [{str(k): v for k, v in row.items()} for row in means.to_dict("records")]


def published_tasks(path: Path) -> list[Task]:
    """The tasks of the file, as published and with what else is of interest."""
    data = json.loads(path.read_text())
    nd, split = data["nasflat_tasks"]["ND"], data["help"]["nb201"]
    nd_devices = tuple(nd["train"]), tuple(nd["test"])
    help_devices = tuple(split["meta_train"]), tuple(split["meta_test"])
    given = tuple(split["hw_emb_idx"])
    return [
        *(Task("nd", *nd_devices, samples) for samples in (20, 5, 10, 50)),
        Task("nd", *nd_devices, 20, choice="random"),
        Task("nd", *nd_devices, 20, known=HELP_KNOWN),
        Task("help", *help_devices, 10),
        Task("help", *help_devices, 10, known=HELP_KNOWN),
        Task("help", *help_devices, len(given), choice="given", given=given),
        Task("help", *help_devices, 10, choice="random"),
    ]


def hard_tasks(table: LatencyTable) -> list[Task]:
    return [
        Task(name, sources, targets, samples)
        for name, (sources, targets) in HARD.items()
        if {*sources, *targets} <= set(table.devices)
        for samples in (10, 20)
    ]


def read_flops(path: Path | None, table: LatencyTable, column: str) -> Array | None:
    if path is None:
        return None
    values: Array = pd.read_parquet(path).loc[list(table.architectures), column].to_numpy(float)
    return values


def comma_separated(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--features", type=Path, help="another table, of features")
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--sources", type=comma_separated, default=())
    parser.add_argument("--targets", type=comma_separated, default=())
    parser.add_argument("--samples", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--accuracy-table", type=Path, help="with FLOPs, for a baseline")
    parser.add_argument("--flops-column", default="flops_M_cifar10")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    for path in (given.table, given.tasks, given.features, given.accuracy_table):
        if path is not None and not path.exists():
            print(f"skipped: {path} is missing; give a table of latencies and its tasks")
            return
    table = read_table(given.table, given.features)
    flops = read_flops(given.accuracy_table, table, given.flops_column)
    tasks = [Task("given", given.sources, given.targets, k) for k in given.samples]
    tasks = tasks if given.sources and given.targets else []
    if given.tasks is not None:
        tasks += published_tasks(given.tasks) + hard_tasks(table)
    if not tasks:
        parser.error("give --tasks, or --sources and --targets")
    rows = []
    for task in tasks:
        found = run_task(task, table, flops, given.seeds)
        print_table(f"{task.name}, {task.samples} samples", found)
        rows += found
    summary = mean_rows(rows)
    print_table(f"Mean over devices, {given.seeds} seeds", summary)
    write_json(given.json, rows, {"seeds": given.seeds, "means": summary})


if __name__ == "__main__":
    main()
