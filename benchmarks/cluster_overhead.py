"""Seconds a trial beyond its work: in process, local processes, Ray; Tune and Optuna beside them.

    python -m benchmarks.cluster_overhead --json docs/results/cluster_overhead.json

Each trial's work is a sleep. Ours are whole searches over the space of examples/digits.yaml, with
run folder, study, constraints and weights on file; the others are what Ray Tune and Optuna offer
by themselves over the same genes (`benchmarks.plain_searches`), which write none of that. Workers
note when they work (`benchmarks.work_log`). The first works wait for each other, and the first
few trials are left out, so that no start is timed; then

    overhead = time * workers / trials - work
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.own_cluster import environment_kept, own_cluster
from benchmarks.plain_searches import search_with_joblib, search_with_tune
from benchmarks.report import print_table, write_json
from benchmarks.stand_in import SleepingPlace, SleepingTraining, measuring_nothing, on_nodes
from benchmarks.work_log import WorkLog, gaps_s, overhead_s
from nas.evaluation.instruments import Instruments
from nas.evaluation.place import Place
from nas.evaluation.ray.place import RayPlace
from nas.problem.search_problem import load_setting
from nas.search.run import run_search

CONFIG = Path("examples/digits.yaml")
WARM_UP = 10  # trials
TARGETS = {"in process": 0.02, "local processes": 0.1, "Ray": 0.3}

Run = Callable[[Path, WorkLog], None]


def run_ours(folder: Path, log: WorkLog, place: Place, trials: int) -> None:
    file = measuring_nothing(CONFIG, trials, log.workers, "training.epochs=1")
    with environment_kept():  # a search on Ray sets Tune up for itself
        results = run_search(file, folder, place=place)
    if len(results.searched) != trials:
        raise RuntimeError(f"{len(results.searched)} of {trials} trials were searched")


def timed(name: str, run: Run, folder: Path, workers: int, work_s: float) -> dict[str, Any]:
    """Runs a search, and returns its row."""
    log = WorkLog(folder / "log", workers)
    log.folder.mkdir(parents=True)
    run(folder, log)
    spells = log.spells()
    processes = len({spell.process for spell in spells})
    if processes != workers:
        raise RuntimeError(f"{name} worked in {processes} processes, not {workers}")
    gaps = gaps_s(spells[WARM_UP:])
    row = {
        "search": name,
        "workers": workers,
        "trials": len(spells) - WARM_UP,
        "overhead, s a trial": overhead_s(spells, workers, WARM_UP, work_s),
        "target, s": TARGETS.get(name.removeprefix("hwnas, "), "-"),
        "median wait of a worker, s": float(np.median(gaps)),
        "worst": float(gaps.max()),
    }
    print(f"{name}: {row['overhead, s a trial']:.3f} s a trial", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--work", type=float, default=0.1, help="seconds of a trial's work")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    work_s, trials = options.work, options.trials + WARM_UP
    config = measuring_nothing(CONFIG, trials, 1).config()
    setting = load_setting(config)
    with TemporaryDirectory(prefix="overhead-") as name:
        at = Path(name)

        def ours(folder: Path, log: WorkLog) -> None:
            run_ours(folder, log, SleepingPlace(SleepingTraining(log, work_s)), trials)

        def plain(run: Callable[..., None]) -> Run:
            def run_plain(folder: Path, log: WorkLog) -> None:
                run(setting.space, config.objectives, folder, log, work_s, trials)

            return run_plain

        rows = [
            timed("hwnas, in process", ours, at / "process", 1, work_s),
            timed("hwnas, local processes", ours, at / "processes", 2, work_s),
            timed("Optuna + joblib", plain(search_with_joblib), at / "joblib", 2, work_s),
        ]
        with own_cluster(at / "cache", nodes=2) as cluster:

            def on_ray(folder: Path, log: WorkLog) -> None:
                training = on_nodes(SleepingTraining(log, work_s))
                place = RayPlace(cluster, Instruments(), open_training=training)
                run_ours(folder, log, place, trials)

            rows += [
                timed("hwnas, Ray", on_ray, at / "ray", 2, work_s),
                timed("Ray Tune + OptunaSearch", plain(search_with_tune), at / "tune", 2, work_s),
            ]
    print_table(f"{options.trials} trials of {work_s:g} s, after {WARM_UP} to warm up", rows)
    write_json(options.json, rows, {"work_s": work_s, "targets_s": TARGETS})


if __name__ == "__main__":
    main()
