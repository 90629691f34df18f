"""Status: how far a run is, read from outside; it changes nothing and waits for nobody.

What is finished comes from the study and the run folder, what is going on from the files that
drivers keep (`nas.runs.activity`); so it can be told while a search runs, and after its
driver died.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas.evaluation.feasibility import broken_rules, latency_rules
from nas.problem.answers import ScoreInterval
from nas.problem.pareto import hypervolume
from nas.problem.records import RunConfig
from nas.problem.run_file import read_kept_file
from nas.runs.certainty import class_names, one_answer
from nas.runs.disk import DiskUse, disk_use
from nas.runs.evaluation import Evaluation
from nas.runs.folder import open_run
from nas.study.liveness import Driver, Liveness, Sighting, Watch, liveness
from nas.study.pace import Pace, pace_of
from nas.study.results import RunResults, results_of_study
from nas.study.storages import open_storage, reading_study

STORAGE_LIMIT_S = 5.0  # how long a lost database is waited for
State = Literal["searching", "died", "finished", "not running"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Trials by state; the first three are architectures, baselines among them.

    Attributes:
        repeated: Proposals that were evaluated already.
        interrupted: Trials that a dead or interrupted driver did not finish.
        under_way: Trials of drivers that are alive.
        distant: Trials of drivers elsewhere of which it is not known whether they are alive.
        abandoned: Trials whose driver is dead; others, or a resumed search, take them up.
    """

    finished: int = 0
    infeasible: int = 0
    stopped: int = 0
    repeated: int = 0
    interrupted: int = 0
    under_way: int = 0
    distant: int = 0
    abandoned: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of one objective so far, with the 95 % interval of a share of images.

    Attributes:
        mark: What stands beside a value that is guessed or inherited; see `Evaluation.mark`.
    """

    objective: str
    value: float
    name: str
    interval: ScoreInterval | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is.

    Attributes:
        done: Distinct architectures evaluated, baselines not counted.
        seconds_left: At the recent pace; None where it is unknown.
        elsewhere: Drivers of the study that have other run folders and did not leave.
        without_gain: Architectures evaluated since the hypervolume last grew; None before it is.
        ending: Why the search ended before its trials were over; "" where it did not.
        measured: Latencies measured on the run's device, by what is on file.
        failures: Why architectures are infeasible, with how many; the most frequent first.
        disk: What the run's folder takes.
        warning: What the accuracies of the front do not tell; "" where nothing was noticed.
    """

    run: Path
    state: State
    done: int
    wanted: int
    counts: Counts
    pace: Pace
    seconds_left: float | None
    drivers: tuple[Driver, ...]
    elsewhere: tuple[Sighting, ...]
    device: str
    measured: int
    best: tuple[Best, ...]
    front: int
    hypervolume: float | None
    failures: tuple[tuple[str, int], ...]
    disk: DiskUse
    warning: str = ""
    without_gain: int | None = None
    ending: str = ""


def status_to_json(status: Status) -> dict[str, Any]:
    """Returns a status as JSON-ready data."""
    failures = [{"cause": cause, "count": count} for cause, count in status.failures]
    return asdict(status) | {"run": str(status.run), "failures": failures}


class StatusReader:
    """Reads a run's status again and again; what it has read of a journal it reads once.

    Raises:
        UserError: If the folder holds no run, or its study's storage cannot be reached.
    """

    def __init__(self, path: Path) -> None:
        self.run = open_run(path)
        self.config = read_kept_file(self.run.config_file).config(is_tried=True)
        self.storage: BaseStorage | None = None
        self._study: optuna.Study | None = None
        self._watch = Watch()

    def study(self) -> optuna.Study | None:
        """Returns the run's study; None where the search has not made it yet."""
        if self._study is None:
            url = self.config.search.storage
            if url is None and not self.run.journal.exists():
                return None
            self.storage = open_storage(url, self.run.journal, limit_s=STORAGE_LIMIT_S, make=False)
            try:
                self._study = optuna.load_study(study_name=self.config.name, storage=self.storage)
            except KeyError:
                return None
        return self._study

    def read(self) -> tuple[Status, RunResults]:
        """Returns how far the run is now, and what it has found.

        Raises:
            UserError: If the storage was lost.
        """
        with reading_study(self.config.search.storage, self.run.journal):
            study = self.study()
            if study is None:
                empty = RunResults(self.run, self.config, (), 0, 0, 0)
                return status_of(empty, (), {}, self._watch), empty
            results = results_of_study(self.run, self.config, study)
            trials, beats = study.get_trials(deepcopy=False), study.user_attrs
        return status_of(results, trials, beats, self._watch), results


def status_of(
    results: RunResults,
    trials: Sequence[FrozenTrial],
    attributes: dict[str, Any],
    watch: Watch,
) -> Status:
    """Returns the status of a run.

    Args:
        trials: All of the study.
        attributes: The study's user attributes, the beats of its drivers among them.
        watch: What has seen these beats before.
    """
    wanted, done = results.config.search.trials, len(results.searched)
    who = liveness(results.run, attributes, watch)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    tended = [who.tends(trial) for trial in running]
    state = state_of(results, who, running)
    busy = [trial for trial in running if who.tends(trial)]
    by_number = {trial.number: trial for trial in trials}
    searched = [by_number[trial.number] for trial in results.searched]
    pace = pace_of(searched, busy if state == "searching" else (), datetime.now())
    front = results.front
    return Status(
        run=results.run.path,
        state=state,
        done=done,
        wanted=wanted,
        counts=Counts(
            finished=len(results.feasible),
            infeasible=len(results.infeasible),
            stopped=len(results.stopped),
            repeated=results.num_duplicates,
            interrupted=results.num_failed,
            under_way=tended.count(True),
            distant=tended.count(None),
            abandoned=tended.count(False),
            queued=sum(trial.state == TrialState.WAITING for trial in trials),
        ),
        pace=pace,
        seconds_left=pace.seconds_for(max(0, wanted - done)),
        drivers=who.here,
        elsewhere=who.elsewhere,
        device=results.config.latency.device,
        measured=sum(is_measured(trial.evaluation) for trial in results.trials),
        best=best_of(results),
        front=len(front),
        hypervolume=(
            hypervolume(results.points(front), results.reference, results.metrics)
            if front
            else None
        ),
        failures=causes(results),
        disk=disk_use(results.run, {trial.hash for trial in front}),
        warning=one_answer([trial.evaluation for trial in front], class_names(results.run)),
        without_gain=results.without_gain,
        ending=results.ending,
    )


def state_of(results: RunResults, who: Liveness, running: Sequence[FrozenTrial]) -> State:
    if who.is_at_work:
        return "searching"
    is_left = any(not (who.tends(trial) or who.is_elsewhere(trial)) for trial in running)
    if is_left or any(not driver.alive for driver in who.here):
        return "died"
    return "finished" if results.is_over else "not running"


def is_measured(evaluation: Evaluation) -> bool:
    return evaluation.latency is not None and evaluation.latency.source == "measured"


def best_of(results: RunResults) -> tuple[Best, ...]:
    """Returns for each objective the best value among the feasible; none before there is one."""
    best_values = []
    for metric in results.metrics if results.feasible else ():
        values = [(metric.sign * t.evaluation.values[metric.name], t) for t in results.feasible]
        _, best = min(values, key=lambda pair: pair[0])
        value, interval = best.evaluation.values[metric.name], results.interval(best, metric)
        mark = best.evaluation.mark(metric.name)
        best_values.append(Best(metric.name, value, best.name, interval, mark))
    return tuple(best_values)


def causes(results: RunResults) -> tuple[tuple[str, int], ...]:
    """Returns why architectures are infeasible and how many for each cause, most first."""
    config = results.config
    counted = Counter(cause_of(config, trial.evaluation) for trial in results.infeasible)
    return tuple(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def cause_of(config: RunConfig, evaluation: Evaluation) -> str:
    """Returns why an architecture is infeasible, without what differs from one to the next."""
    predicted = latency_rules(config) if evaluation.is_predicted else ()
    broken = [
        f"{rule} is {'likely ' * (rule in predicted)}violated"
        for rule in broken_rules(config, evaluation.violations)
    ]
    return "; ".join(broken) or without_numbers(evaluation.reason or "unknown")


def without_numbers(reason: str) -> str:
    """Returns why candidates fail, without what differs from one to the next.

    >>> without_numbers("its worker process died 2 times (out of memory, or killed)")
    'its worker process died (out of memory, or killed)'
    >>> without_numbers("training diverged at epoch 3: loss 4.2e8 of 0a1b2c3d4e5f6789")
    'training diverged at epoch N: loss N of HASH'
    """
    reason = re.sub(r" died \d+ times", " died", reason)
    reason = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b", "HASH", reason)
    return re.sub(r"(?<![\w.])[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?!\w)", "N", reason)
