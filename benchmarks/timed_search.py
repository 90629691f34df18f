"""Timed search: a search on a cluster of the benchmark's own, with what its workers noted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.own_cluster import own_cluster
from benchmarks.stand_in import SleepingTraining, on_nodes
from benchmarks.work_log import Spell, WorkLog
from nas.evaluation.instruments import Instruments
from nas.evaluation.ray.place import RayPlace
from nas.evaluation.ray.trainable import OpenTraining, Shared, open_training
from nas.problem.run_file import RunFile
from nas.search.loop import Progress
from nas.search.run import run_search
from nas.training.candidate import CandidateTraining, MayGoOn
from nas.training.checkpoints import Checkpoints
from nas.training.loop import TrainingResult
from search_spaces.space.space import Architecture


@dataclass(frozen=True, slots=True)
class TimedSearch:
    """What a search on a cluster did.

    Attributes:
        spells: The trainings, in the order in which they ended.
        found: Hashes of the candidates.
        driver_cpu_s: CPU seconds of the driver's process a candidate, all its threads together,
            once half of the candidates are told.
    """

    workers: int
    spells: tuple[Spell, ...]
    found: frozenset[str]
    driver_cpu_s: float

    @property
    def begin(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([spell.start for spell in self.spells])

    @property
    def end(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([spell.end for spell in self.spells])

    @property
    def wall_s(self) -> float:
        """From when all workers were ready until the last training ended."""
        return float(self.end.max() - self.begin.min())

    @property
    def training_s(self) -> float:
        """All trainings together."""
        return float((self.end - self.begin).sum())


class NotedTraining:
    """The training of a node, whose times are noted."""

    def __init__(self, log: WorkLog, training: CandidateTraining) -> None:
        self.log = log
        self.training = training

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        with self.log.working():
            return self.training(candidate, values)

    def forget(self, key: str) -> None:
        self.training.forget(key)


def open_noted(
    log: WorkLog, shared: Shared, checkpoints: Checkpoints, may_go_on: MayGoOn
) -> CandidateTraining:
    return NotedTraining(log, open_training(shared, checkpoints, may_go_on))


def search_on_cluster(
    file: RunFile,
    folder: Path,
    nodes: int,
    cpus: int = 1,
    sleeping_s: float | None = None,
    spread: float = 0.0,
) -> TimedSearch:
    """Searches on ``nodes`` of ``cpus`` each.

    Args:
        folder: For the run, the cluster's state and the workers' notes.
        sleeping_s: What a training takes that only sleeps; None trains for real.
        spread: By which share of it candidates take more or less.
    """
    log = WorkLog(folder / "log", nodes * cpus)
    log.folder.mkdir(parents=True)
    opened: OpenTraining = partial(open_noted, log)
    if sleeping_s is not None:
        opened = on_nodes(SleepingTraining(log, sleeping_s, spread))
    used: list[float] = []

    def note_cpu(progress: Progress) -> None:
        used.append(process_time())

    with own_cluster(folder / "cache", nodes, cpus) as cluster:
        place = RayPlace(cluster, Instruments(), open_training=opened)
        results = run_search(file, folder, place=place, on_progress=note_cpu)
    spells = log.spells()
    if not len(spells) == len(results.searched) == file.config().search.trials:
        raise RuntimeError(f"{len(spells)} trainings, {len(results.searched)} trials")
    half = len(used) // 2
    cpu_s = (used[-1] - used[half - 1]) / (len(used) - half)
    found = frozenset(trial.hash for trial in results.searched)
    return TimedSearch(log.workers, spells, found, cpu_s)
