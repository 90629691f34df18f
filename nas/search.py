"""Search: asks a study for architectures, has them evaluated, tells what was found out.

The loop alone talks to the study; workers only evaluate. An evaluation is on disk before its
trial is told, so a search that is killed at any moment loses no finished work.
"""

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState

from nas.config import RunConfig
from nas.data.summary import data_summary
from nas.evaluation import Evaluation
from nas.evaluator import Evaluator, affordable
from nas.results import RunResults, results_of
from nas.run_file import RunFile, differences, to_yaml
from nas.run_folder import RunFolder, create_run, lock_run, open_run, write_json, write_whole
from nas.sampler import HASH
from nas.setting import Setting, baselines, load_setting
from nas.studies import (
    BASELINE,
    make_sampler,
    mend_journal,
    open_storage,
    open_study,
    retake_interrupted,
    suggest,
)
from nas.workers import Workers, local_workers, needs_latency, open_measurer
from search_spaces.architecture import graph_hash
from search_spaces.errors import UserError
from search_spaces.space import Architecture, decide

MAY_CHANGE = frozenset({"search.trials", "search.workers", "latency.time_limit_s"})
PATIENCE = 100  # repeated proposals in a row after which a space counts as used up

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every trial.

    Attributes:
        done: Distinct architectures evaluated, baselines not counted.
        wanted: How many are asked for.
        name: Of the trial that just ended.
    """

    done: int
    wanted: int
    name: str
    evaluation: Evaluation


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """For searches that nobody watches."""


def search(
    file: RunFile,
    runs: Path,
    *,
    resume: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> RunResults:
    """Searches as ``file`` says in the folder ``runs / file.name`` and returns what was found.

    Stops early, cleanly, when it is interrupted once (``Ctrl-C``); a second interrupt raises.

    Raises:
        UserError: If the configuration or data is wrong, the folder holds another run, or the
            disk is full; nothing that was finished is lost.
    """
    config = file.config()
    run = take_up_run(file, runs / config.name, resume)
    with ExitStack() as resources:
        resources.enter_context(lock_run(run))
        resources.enter_context(logging_to(run.log_file))
        if resume:  # trials and workers may have been changed
            write_whole(run.config_file, to_yaml(file).encode())
        setting = load_setting(config)
        write_json(run.data_file, data_summary(setting.splits))
        study = take_up_study(config, run, setting)
        evaluator = None
        if config.search.workers == 1:
            measurer = (
                resources.enter_context(open_measurer(config)) if needs_latency(config) else None
            )
            evaluator = Evaluator(config, setting.tensors, measurer, run)
        workers = resources.enter_context(local_workers(config, run, evaluator))
        loop = SearchLoop(config, run, setting, study, workers, on_progress)
        with stopping_gently(loop):
            loop.run_all()
        return results_of(run, config, study.get_trials(deepcopy=False))


def take_up_run(file: RunFile, path: Path, resume: bool) -> RunFolder:
    """Makes the run's folder, or opens it and checks that it means the same search.

    Raises:
        UserError: If it is there and ``resume`` is off, or its configuration differs.
    """
    if not (resume and path.exists()):
        return create_run(path, to_yaml(file))
    run = open_run(path)
    before = yaml.safe_load(run.config_file.read_text())
    changed = [
        line
        for line in differences(before, yaml.safe_load(to_yaml(file)))
        if line.partition(":")[0] not in MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"{path} was searched with another configuration ({'; '.join(changed)}); restore "
            f"these values (the run's own are in {run.config_file}), or start anew with "
            "--set name=NAME"
        )
    return run


def take_up_study(config: RunConfig, run: RunFolder, setting: Setting) -> optuna.Study:
    """Opens the study and queues the baselines and the trials that an earlier kill interrupted."""
    sampler = make_sampler(
        config.search.sampler,
        setting.space,
        config.objectives,
        seed=config.search.seed,
        initial=config.search.initial,
        affordable=partial(affordable, config),
    )
    if config.search.storage is None:
        mend_journal(run.journal)
    storage = open_storage(config.search.storage, run.journal)
    study = open_study(config.name, storage, sampler, config.objectives)
    if retaken := retake_interrupted(study):
        log.info("taking up %d interrupted trials", retaken)
    trials = study.get_trials(deepcopy=False)
    known = {t.user_attrs.get(BASELINE) for t in trials if t.state != TrialState.FAIL}
    for name, architecture in baselines(config, setting.space).items():
        if name not in known:
            study.enqueue_trial(dict(architecture.genes), user_attrs={BASELINE: name})
    return study


@dataclass(slots=True)
class Pending:
    """Trials of one architecture that wait for its evaluation."""

    architecture: Architecture
    trials: list[optuna.Trial]


@dataclass(slots=True)
class SearchLoop:
    """Asks, submits, tells until enough distinct architectures are evaluated."""

    config: RunConfig
    run: RunFolder
    setting: Setting
    study: optuna.Study
    workers: Workers
    on_progress: OnProgress
    stopping: bool = False
    told: set[str] = field(default_factory=set)
    done: int = 0
    pending: dict[str, Pending] = field(default_factory=dict)
    futures: "dict[Future[str], str]" = field(default_factory=dict)
    repeats: int = 0

    def run_all(self) -> None:
        self.count_finished()
        networks = baselines(self.config, self.setting.space)
        while True:
            while not self.stopping and len(self.futures) < self.workers.slots and self.more():
                self.ask(networks)
            if not self.futures:
                return
            for future in wait(self.futures, return_when=FIRST_COMPLETED).done:
                self.finish(future)

    def count_finished(self) -> None:
        """Learns from the study what is evaluated already."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        given = {trial.user_attrs[HASH] for trial in trials if BASELINE in trial.user_attrs}
        self.told = {trial.user_attrs[HASH] for trial in trials}
        self.done = len(self.told - given)

    @property
    def wanted(self) -> int:
        return self.config.search.trials

    def more(self) -> bool:
        """Whether to ask for another trial: some are queued, or too few are done or under way."""
        if self.repeats >= PATIENCE:
            log.warning("%d proposals in a row were known already; stopping", self.repeats)
            return False
        under_way = sum(
            any(BASELINE not in trial.user_attrs for trial in pending.trials)
            for pending in self.pending.values()
        )
        if self.done + under_way < self.wanted:
            return True
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def ask(self, networks: dict[str, Architecture]) -> None:
        trial = self.study.ask()
        architecture = self.decide(trial, networks)
        key = graph_hash(architecture.graph)
        trial.set_user_attr(HASH, key)
        if key in self.pending:
            self.pending[key].trials.append(trial)
            self.repeats += 1
            return
        evaluation = self.run.load_evaluation(key)
        if evaluation is not None:
            self.tell(trial, architecture, evaluation)
            return
        self.pending[key] = Pending(architecture, [trial])
        self.futures[self.workers.submit(architecture)] = key

    def decide(self, trial: optuna.Trial, networks: dict[str, Architecture]) -> Architecture:
        name = trial.user_attrs.get(BASELINE)
        if name is not None and not networks[name].genes:
            return networks[name]
        return decide(self.setting.space, suggest(trial))

    def finish(self, future: "Future[str]") -> None:
        key = self.futures.pop(future)
        pending = self.pending[key]
        try:
            future.result()
        except BrokenProcessPool:
            if self.workers.has_another_try(pending.architecture):
                self.futures[self.workers.submit(pending.architecture)] = key
                return
            self.workers.give_up(pending.architecture)
        evaluation = self.run.load_evaluation(key)
        if evaluation is None:
            raise AssertionError(f"the worker filed no evaluation of {key}")
        del self.pending[key]
        for trial in pending.trials:
            self.tell(trial, pending.architecture, evaluation)

    def tell(
        self, trial: optuna.Trial, architecture: Architecture, evaluation: Evaluation
    ) -> None:
        for rule, excess in evaluation.violations.items():
            trial.set_constraint(rule, excess)
        failed = not evaluation.feasible and not any(v > 0 for v in evaluation.violations.values())
        if failed:
            trial.set_constraint("runs", 1.0)
        values = [evaluation.values.get(m.name, m.worst) for m in self.config.objectives]
        self.study.tell(trial, values)
        fresh = evaluation.hash not in self.told
        self.told.add(evaluation.hash)
        if BASELINE not in trial.user_attrs:
            self.repeats = 0 if fresh else self.repeats + 1
            self.done += fresh
        if fresh:
            name = trial.user_attrs.get(BASELINE, f"trial {trial.number}")
            log.info("%s %s", name, json.dumps(summary(architecture, evaluation)))
            self.on_progress(Progress(self.done, self.wanted, name, evaluation))


def summary(architecture: Architecture, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "hash": evaluation.hash,
        "status": evaluation.status,
        "reason": evaluation.reason,
        "values": dict(evaluation.values),
        "seconds": {phase: round(s, 3) for phase, s in evaluation.seconds.items()},
    }


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Writes the search's log to a file of the run, each line with its time."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextmanager
def stopping_gently(loop: SearchLoop) -> Iterator[None]:
    """Makes the first interrupt finish what is running, and a second one stop at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        if loop.stopping:
            raise KeyboardInterrupt
        loop.stopping = True
        log.info("interrupted: finishing what is running")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
