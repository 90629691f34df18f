"""Seconds a trial beyond its training and measuring, with one worker in this process.

    python -m benchmarks.search_overhead --trials 100 --json docs/results/search_overhead.json

A search over the space of examples/digits.yaml whose candidates cost nothing: training and
measuring are replaced by a stand-in that files random values and random weights. What is left is
asking, planning children, building and hashing graphs, writing the run folder, telling. Beside
it, plain Optuna over the same genes and the same kind of storage, which writes no files.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from benchmarks.report import print_table, write_json
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.free_rules import graph_values
from nas.evaluation.processes import local_workers
from nas.problem.run_file import RunFile, read_run_file, to_yaml
from nas.problem.search_problem import Setting, load_setting
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder, create_run
from nas.search.loop import SearchLoop
from nas.search.resume import take_up_study
from nas.study.drivers import alone
from nas.study.storages import open_storage
from nas.study.study import open_study, suggest
from nas.training.candidate import LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from search_spaces.graphs.model import random_model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, decide


class FreeEvaluator(Evaluator):
    """Files random values and weights: what an evaluation writes, without its work."""

    def evaluate(self, architecture: Architecture) -> Evaluation:
        start = perf_counter()
        key = graph_hash(architecture.graph)
        rng = np.random.default_rng(int(key, 16))
        values = {name: float(value) for name, value in graph_values(architecture.graph).items()}
        values |= {"accuracy": rng.random(), "latency_ms": values["macs"] / 1e6 + rng.random()}
        arrays = random_model(architecture.graph, rng).arrays
        self.stand_in_s = getattr(self, "stand_in_s", 0.0) + perf_counter() - start
        evaluation = Evaluation(key, "finished", None, values, {}, epochs=1)
        self.run.save_evaluation(architecture, evaluation, arrays)
        return evaluation


def time_search(file: RunFile, setting: Setting, folder: Path) -> float:
    """Returns the seconds a trial of our loop, less what the stand-in took."""
    config, setting = replace(file.config(), baselines=()), replace(setting, baselines={})
    run = create_run(folder, to_yaml(file))
    study = take_up_study(config, run, setting)
    training = LocalTraining(config, setting.tensors, FolderCheckpoints(run.checkpoints))
    evaluator = FreeEvaluator(config, training, None, run)
    with local_workers(config, run, evaluator) as workers:
        loop = SearchLoop(config, setting, alone(study, run), workers)
        start = perf_counter()
        loop.run_all()
        spent = perf_counter() - start - evaluator.stand_in_s
    return spent / config.search.trials


def time_optuna(file: RunFile, setting: Setting, folder: Path, sampler: BaseSampler) -> float:
    """Returns the seconds a trial of plain Optuna: ask, decide, tell."""
    config = file.config()
    folder.mkdir()
    storage = open_storage(None, RunFolder(folder).journal)
    study = open_study("plain", storage, sampler, config.objectives)
    rng = np.random.default_rng(0)
    start = perf_counter()
    for _ in range(config.search.trials):
        trial = study.ask()
        decide(setting.space, suggest(trial))
        study.tell(trial, [rng.random(), rng.random()])
    return (perf_counter() - start) / config.search.trials


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    changes = [f"search.trials={options.trials}", "search.workers=1"]
    file = read_run_file(Path("examples/digits.yaml"), changes)
    setting = load_setting(file.config())
    times: dict[str, list[float]] = {}
    with TemporaryDirectory() as folder:
        for repeat in range(options.repeats):  # interleaved: all meet the same noise
            at = Path(folder)
            for name, sampler in (
                ("optuna NSGA-II", NSGAIISampler(seed=repeat)),
                ("optuna TPE", TPESampler(seed=repeat)),
            ):
                spent = time_optuna(file, setting, at / f"{name}{repeat}", sampler)
                times.setdefault(f"{name}, no files", []).append(spent)
            ours = time_search(file, setting, at / f"ours{repeat}")
            times.setdefault("hwnas evolution, run folder", []).append(ours)
    rows = [
        {"loop": name, "median s a trial": float(np.median(found)), "worst": max(found)}
        for name, found in times.items()
    ]
    print_table(f"{options.trials} trials, {options.repeats} repeats", rows)
    write_json(options.json, rows, {"target": "at most 0.05 s a trial"})


if __name__ == "__main__":
    main()
