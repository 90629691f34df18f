"""Stand-in: a training that only takes time, for searches whose own cost is measured.

It takes the place of training in this process, in local processes and on Ray; everything else is
the search as it is.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

from benchmarks.work_log import WorkLog
from latency_models.prediction.predictor import Predictor
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments
from nas.evaluation.place import OpenPlace
from nas.evaluation.processes import InOtherProcess, local_workers, start_worker
from nas.evaluation.ray.trainable import OpenTraining, Shared
from nas.evaluation.workers import LocalWorkers
from nas.problem.answers import Confusion
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, read_kept_file, read_run_file
from nas.problem.search_problem import Setting, load_setting
from nas.runs.folder import RunFolder
from nas.training.candidate import MayGoOn
from nas.training.checkpoints import Checkpoints
from nas.training.loop import TrainingResult
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.space.architecture import from_json, graph_hash
from search_spaces.space.space import Architecture

ANSWERS = Confusion(2, ((0, 0, 1), (1, 1, 1)))


def measuring_nothing(path: Path, trials: int, workers: int, *changes: str) -> RunFile:
    """Returns a run file whose candidates are only trained: by accuracy and MACs, no baselines."""
    fixed = ["objectives=[accuracy, macs]", "constraints=[]", "baselines=[]", "reference={}"]
    sizes = [f"search.trials={trials}", f"search.workers={workers}"]
    return read_run_file(path, [*fixed, *sizes, *changes])


def made_up(graph: Graph) -> TrainingResult:
    """Returns random weights and an accuracy, after one epoch; the same for the same graph."""
    rng = np.random.default_rng(int(graph_hash(graph), 16))
    return TrainingResult(random_model(graph, rng), (1.0,), (rng.random(),), 0.0, True, ANSWERS)


@dataclass(frozen=True, slots=True)
class SleepingTraining:
    """Takes ``work_s``, making up a result included.

    Attributes:
        spread: By which share of it a candidate may take more or less, 0..1.
    """

    log: WorkLog
    work_s: float
    spread: float = 0.0

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        with self.log.working():
            start = monotonic()
            result = made_up(candidate.graph)
            off = 2 * result.accuracy - 1  # the accuracy is random
            deadline = start + self.work_s * (1 + self.spread * off)
            sleep(max(0.0, deadline - monotonic()))
        return result

    def forget(self, key: str) -> None:
        """Nothing is kept."""


def on_nodes(training: SleepingTraining) -> OpenTraining:
    """Returns what makes the stand-in on the nodes of a cluster."""
    return partial(open_sleeping, training)


def open_sleeping(
    training: SleepingTraining,
    shared: Shared,
    checkpoints: Checkpoints,
    may_go_on: MayGoOn,
) -> SleepingTraining:
    return training


@dataclass(frozen=True, slots=True)
class SleepingPlace:
    """This process, or local processes, with the stand-in."""

    training: SleepingTraining

    @property
    def is_here(self) -> bool:
        return True

    def prepare(self, config: RunConfig, /) -> Setting:
        return load_setting(config)

    @contextmanager
    def open(
        self, config: RunConfig, run: RunFolder, setting: Setting, model: Predictor | None, /
    ) -> Iterator[OpenPlace]:
        with Instruments().measurer(config) as measurer, self.workers(config, run) as workers:
            yield OpenPlace(workers, measurer)

    def workers(self, config: RunConfig, run: RunFolder) -> LocalWorkers:
        training = self.training
        if config.search.workers == 1:
            return local_workers(config, run, Evaluator(config, training, None, run))
        context = multiprocessing.get_context("spawn")
        ending, lifeline = context.Pipe(duplex=False)

        def start() -> Executor:
            return InOtherProcess(1, context, start_sleeping, (str(run.path), ending, training))

        return LocalWorkers(config.search.workers, start, evaluate_sleeping, run, lifeline.close)


_STATE: dict[str, Any] = {}


def start_sleeping(path: str, lifeline: Connection, training: SleepingTraining) -> None:
    """Prepares a worker process."""
    start_worker(path, lifeline, Instruments())
    run = RunFolder(Path(path))
    config = read_kept_file(run.config_file).config()
    _STATE["evaluator"] = Evaluator(config, training, None, run)


def evaluate_sleeping(architecture: Mapping[str, Any]) -> str:
    evaluator: Evaluator = _STATE["evaluator"]
    return evaluator.evaluate(from_json(architecture)).hash
