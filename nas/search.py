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
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from latency_models.device import get_device
from nas import yaml_text
from nas.config import RunConfig
from nas.data.summary import check_same_data, data_summary
from nas.evaluation import Evaluation
from nas.evaluator import Evaluator, affordable
from nas.results import RunResults, results_of
from nas.run_file import RunFile, differences, read_yaml, to_yaml
from nas.run_folder import (
    DiskFullError,
    RunFolder,
    create_run,
    has_run,
    is_full,
    lock_run,
    open_run,
    refuse_other_run,
    remove_parts,
    write_json,
    write_whole,
)
from nas.sampler import HASH, SpaceUsedUpError
from nas.setting import Setting, baselines, load_setting
from nas.studies import (
    BASELINE,
    hide_password,
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
from search_spaces.space import Architecture, decide, restore

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


def do_nothing() -> None:
    """For searches whose start nobody waits for."""


def ignore_progress(progress: Progress) -> None:
    """For searches that nobody watches."""


def search(
    file: RunFile,
    runs: Path,
    *,
    resume: bool = False,
    on_start: Callable[[], None] = do_nothing,
    on_progress: OnProgress = ignore_progress,
) -> RunResults:
    """Searches as ``file`` says in the folder ``runs / file.name`` and returns what was found.

    Stops early, cleanly, when it is interrupted once (``Ctrl-C``); a second interrupt raises.

    Args:
        resume: Go on with the run that is there.
        on_start: Called once everything that was given is checked, before the first trial.

    Raises:
        UserError: If the configuration or data is wrong, the folder holds another run, or the
            disk is full; nothing that was finished is lost.
    """
    config = file.config()
    path = runs / config.name
    check_run(file, path, resume)
    setting = load_setting(config)
    baselines(config, setting.space)
    get_device(config.latency.device)
    # Nothing is written before all that was given is known to be right.
    run = open_run(path) if has_run(path) else create_run(path, to_yaml(file))
    with ExitStack() as resources:
        resources.enter_context(naming_lost_storage(config, run))
        resources.enter_context(lock_run(run))
        remove_parts(run)
        resources.enter_context(logging_to(run.log_file))
        if resume:  # trials and workers may have been changed
            write_whole(run.config_file, to_yaml(file).encode())
        if run.data_file.exists():
            check_same_data(run.data_file, setting.splits)
        write_json(run.data_file, data_summary(setting.splits))
        study = take_up_study(config, run, setting, resume=resume)
        evaluator = None
        if config.search.workers == 1:
            measurer = (
                resources.enter_context(open_measurer(config)) if needs_latency(config) else None
            )
            evaluator = Evaluator(config, setting.tensors, measurer, run)
        workers = resources.enter_context(local_workers(config, run, evaluator))
        loop = SearchLoop(config, run, setting, study, workers, on_progress)
        on_start()
        with stopping_gently(loop):
            loop.run_all()
        return results_of(run, config, study.get_trials(deepcopy=False))


def check_run(file: RunFile, path: Path, resume: bool) -> None:
    """Checks that the run's folder is free, or may be gone on with.

    Raises:
        UserError: If it holds a run and ``resume`` is off, or its configuration differs.
    """
    if not resume:
        refuse_other_run(path)
    if not has_run(path):
        return
    run = open_run(path)
    changed = [
        hide_password(line) if line.startswith("search.storage:") else line
        for line in differences(read_yaml(run.config_file), yaml_text.load(to_yaml(file)))
        if line.partition(":")[0] not in MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"{path} was searched with another configuration ({'; '.join(changed)}); restore "
            f"these values (the run's own are in {run.config_file}), or start anew with "
            "--set name=NAME"
        )


def take_up_study(
    config: RunConfig, run: RunFolder, setting: Setting, *, resume: bool = False
) -> optuna.Study:
    """Opens the study and queues the baselines and the trials that an earlier kill interrupted.

    Raises:
        UserError: If the storage cannot be opened, or has another run's study of this name.
    """
    sampler = partial(
        make_sampler,
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
    study = open_study(config.name, storage, sampler(), config.objectives, resume=resume)
    study.sampler = sampler(begun=len(study.get_trials(deepcopy=False)))
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
    used_up: bool = False

    def run_all(self) -> None:
        networks = baselines(self.config, self.setting.space)
        lost = self.count_finished(networks)
        while True:
            while not self.stopping and len(self.futures) < self.workers.slots:
                if lost:
                    self.submit(lost.pop())
                elif self.more():
                    self.ask(networks)
                else:
                    break
            if not self.futures:
                return
            for future in wait(self.futures, return_when=FIRST_COMPLETED).done:
                self.finish(future)

    def count_finished(self, networks: dict[str, Architecture]) -> list[Architecture]:
        """Learns from the study what is evaluated; returns those whose evaluation is lost."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        given = {trial.user_attrs[HASH] for trial in trials if BASELINE in trial.user_attrs}
        self.told = {trial.user_attrs[HASH] for trial in trials}
        self.done = len(self.told - given)
        by_hash = {trial.user_attrs[HASH]: trial for trial in trials}
        return [
            self.decided(trial, networks)
            for key, trial in by_hash.items()
            if self.run.load_evaluation(key) is None
        ]

    def decided(self, trial: FrozenTrial, networks: dict[str, Architecture]) -> Architecture:
        name = trial.user_attrs.get(BASELINE)
        return networks[name] if name is not None else restore(self.setting.space, trial.params)

    @property
    def wanted(self) -> int:
        return self.config.search.trials

    def more(self) -> bool:
        """Whether to ask for another trial: some are queued, or too few are done or under way."""
        if self.repeats >= PATIENCE and not self.used_up:
            self.used_up = True
            log.warning("%d proposals in a row were known already; stopping", self.repeats)
        if self.used_up:
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
        try:
            architecture = self.decide(trial, networks)
        except SpaceUsedUpError as error:
            self.study.tell(trial, state=TrialState.FAIL)
            self.used_up = True
            log.warning("%s", error)
            return
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
        self.submit(architecture, trial)

    def submit(self, architecture: Architecture, *trials: optuna.Trial) -> None:
        key = graph_hash(architecture.graph)
        self.pending[key] = Pending(architecture, list(trials))
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
            log.warning("the worker of %s died", key)
            if self.run.load_evaluation(key) is None:  # else it died afterwards
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


class RunLog(logging.FileHandler):
    """A log whose failures are the search's."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        raise


@contextmanager
def naming_lost_storage(config: RunConfig, run: RunFolder) -> Iterator[None]:
    """Turns a full disk and a lost database into errors that say how to go on."""
    try:
        yield
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(
            f"the study's storage {hide_password(config.search.storage or str(run.journal))} "
            f"failed ({reason}); what is finished is kept; put it right and go on with --resume"
        ) from error
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"the disk is full: cannot write to {run.path}; everything finished so far is "
                "kept; free some space and go on with --resume"
            ) from error
        raise


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Writes the search's log to a file of the run, each line with its time."""
    handler = RunLog(path)
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
