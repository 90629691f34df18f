"""Plain searches: what Ray Tune and Optuna offer by themselves, over the genes of a space of ours.

They decide the same genes and build the same graphs, write no run folder, and sample with
Optuna's NSGA-II, the fastest of its samplers that learn.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import optuna
from optuna.samplers import NSGAIISampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from benchmarks.work_log import WorkLog
from nas.problem.metrics import Direction, Metric
from nas.study.study import suggest
from search_spaces.space.space import SearchSpace, decide


class SleepingTrainable(tune.Trainable):  # type: ignore[misc]  # Ray has no types
    """Sleeps and makes up values."""

    def setup(
        self, config: dict[str, Any], log: WorkLog, work_s: float, names: Sequence[str]
    ) -> None:
        self.log = log
        self.work_s = work_s
        self.names = names
        self.rng = np.random.default_rng()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        with self.log.working():
            sleep(self.work_s)
        return {name: self.rng.random() for name in self.names} | {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to go on from."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing to go on from."""


def search_with_tune(
    space: SearchSpace,
    metrics: Sequence[Metric],
    folder: Path,
    log: WorkLog,
    work_s: float,
    trials: int,
) -> None:
    """Ray Tune with OptunaSearch, a study in a journal, and actors that are used again."""

    names = [metric.name for metric in metrics]
    searcher = OptunaSearch(
        partial(define_by_run, space),  # Tune pickles its searcher
        metric=names,
        mode=[metric.direction[:3] for metric in metrics],
        sampler=NSGAIISampler(seed=0),
        storage=JournalStorage(JournalFileBackend(str(folder / "tune.journal"))),
        study_name="tune",
    )
    trainable = tune.with_parameters(SleepingTrainable, log=log, work_s=work_s, names=names)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=trials,
            max_concurrent_trials=log.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder / "tune"), verbose=0),
    ).fit()


def define_by_run(space: SearchSpace, trial: optuna.Trial) -> dict[str, Any]:
    decide(space, suggest(trial))
    return {}


def search_with_joblib(
    space: SearchSpace,
    metrics: Sequence[Metric],
    folder: Path,
    log: WorkLog,
    work_s: float,
    trials: int,
) -> None:
    """Optuna's ``study.optimize`` in as many processes of joblib, which share a journal."""
    journal = folder / "joblib.journal"
    directions = [metric.direction for metric in metrics]
    shares = [len(share) for share in np.array_split(np.arange(trials), log.workers)]
    # All processes at once, and one task each.
    joblib.Parallel(n_jobs=log.workers, batch_size=1)(
        joblib.delayed(optimize)(space, directions, journal, log, work_s, share, seed)
        for seed, share in enumerate(shares)
    )


def optimize(
    space: SearchSpace,
    directions: Sequence[Direction],
    journal: Path,
    log: WorkLog,
    work_s: float,
    trials: int,
    seed: int,
) -> None:
    """Runs ``trials`` of the study in this process."""
    rng = np.random.default_rng(seed)

    def objective(trial: optuna.Trial) -> list[float]:
        decide(space, suggest(trial))
        with log.working():
            sleep(work_s)
        return [rng.random() for _ in directions]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="joblib",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=NSGAIISampler(seed=seed),
        directions=directions,
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=trials)
