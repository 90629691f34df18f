"""The search loop: asks a study for architectures, has them evaluated, tells what was found out.

It alone talks to the study; workers only evaluate.
"""

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import sleep
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas.evaluation.workers import WorkerLostError, Workers
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting, baselines
from nas.runs.activity import ActivityLog
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.search.dominated_genes import ReplacingSampler, to_attribute
from nas.search.evolution import SpaceUsedUpError
from nas.study.attributes import carry
from nas.study.drivers import Drivers
from nas.study.names import BASELINE, DRIVER, EPOCHS, EVALUATION, HASH, REPLACED
from nas.study.sharing import Sharing
from nas.study.study import suggest, tell_if_open
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, decide, restore

INFRASTRUCTURE_TRIES = 10  # how often a candidate may lose its worker by nobody's fault
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


@dataclass(slots=True)
class Pending:
    """Trials of one architecture that wait for its evaluation.

    Attributes:
        tries_lost: How often its worker was lost by no fault of its own.
    """

    architecture: Architecture
    trials: list[optuna.Trial]
    tries_lost: int = 0


@dataclass(slots=True)
class SearchLoop:
    """Asks, submits, tells until enough distinct architectures are evaluated."""

    config: RunConfig
    run: RunFolder
    setting: Setting
    study: optuna.Study
    workers: Workers
    on_progress: OnProgress
    drivers: Drivers
    stopping: bool = False
    told: set[str] = field(default_factory=set)
    done: int = 0
    pending: dict[str, Pending] = field(default_factory=dict)
    futures: "dict[Future[str], str]" = field(default_factory=dict)
    repeats: int = 0
    used_up: bool = False
    activity: ActivityLog | None = None
    sharing: Sharing = field(init=False)

    def __post_init__(self) -> None:
        self.sharing = Sharing(self.study, self.drivers, self.wanted, lambda: self.stopping)

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
            if self.futures:
                # Not for good: room in a cluster comes and goes, and so do other drivers.
                poll_s = self.drivers.timing.poll_s
                for future in wait(self.futures, poll_s, FIRST_COMPLETED).done:
                    self.finish(future)
            elif self.stopping or not self.sharing.is_waiting_for_others(self.done):
                return
            else:
                sleep(self.drivers.timing.poll_s)

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
            if EVALUATION not in trial.user_attrs and self.run.load_evaluation(key) is None
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
        elsewhere = 0
        if self.drivers.notice_others():
            counted = self.sharing.catch_up(self.ours)
            self.told, self.done = set(counted.told), counted.done
            elsewhere = counted.under_way
        under_way = elsewhere + sum(
            any(BASELINE not in trial.user_attrs for trial in pending.trials)
            for pending in self.pending.values()
        )
        if self.done + under_way < self.wanted and not self.used_up:
            return True
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    @property
    def ours(self) -> set[int]:
        """Numbers of the trials that wait for an evaluation of this driver."""
        return {trial.number for pending in self.pending.values() for trial in pending.trials}

    def ask(self, networks: dict[str, Architecture]) -> None:
        trial = self.study.ask()
        try:
            self.take(trial, networks)
        except UpdateFinishedTrialError:
            log.warning("trial %d was taken over by another driver", trial.number)

    def take(self, trial: optuna.Trial, networks: dict[str, Architecture]) -> None:
        """Decides a trial and has it evaluated, where that is for this driver to do.

        Raises:
            UpdateFinishedTrialError: If another driver took it over meanwhile.
        """
        trial.set_user_attr(DRIVER, self.drivers.me)
        try:
            architecture = self.decide(trial, networks)
        except SpaceUsedUpError as error:
            tell_if_open(self.study, trial, state=TrialState.FAIL)
            self.used_up = True
            log.warning("%s", error)
            return
        self.note_replacements(trial)
        key = graph_hash(architecture.graph)
        if key in self.pending:
            trial.set_user_attr(HASH, key)
            self.pending[key].trials.append(trial)
            self.repeats += 1
            return
        evaluation = self.run.load_evaluation(key)
        ruling = self.sharing.claim(trial, key, self.ours)
        if ruling.outcome != "mine":
            self.sharing.give_back(trial, ruling.outcome)
            self.repeats += ruling.outcome == "under way elsewhere"
            return
        evaluation = evaluation or ruling.known
        if evaluation is not None:
            self.tell(trial, evaluation)
            return
        self.submit(architecture, trial)

    def note_replacements(self, trial: optuna.Trial) -> None:
        """Keeps with a trial which genes of its proposal were useless."""
        if not isinstance(self.study.sampler, ReplacingSampler):
            return
        made = self.study.sampler.replacements.get(trial.number, ())
        for replacement in made:
            log.info("trial %d: %s", trial.number, replacement)
        if made:
            trial.set_user_attr(REPLACED, to_attribute(made))

    def submit(self, architecture: Architecture, *trials: optuna.Trial) -> None:
        key = graph_hash(architecture.graph)
        self.pending[key] = Pending(architecture, list(trials))
        if self.activity is not None:
            self.activity.set_slots(self.workers.slots)
            self.activity.began(key, names_of(trials))
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
        except (BrokenProcessPool, WorkerLostError) as error:
            if self.tries_again(key, pending, error):
                self.futures[self.workers.submit(pending.architecture)] = key
                return
        evaluation = self.run.load_evaluation(key)
        if evaluation is None:
            raise AssertionError(f"the worker filed no evaluation of {key}")
        del self.pending[key]
        if self.activity is not None:
            self.activity.ended(key)
        for trial in pending.trials:
            self.tell(trial, evaluation)

    def tries_again(self, key: str, pending: Pending, error: Exception) -> bool:
        """Whether an architecture whose worker was lost is to be submitted again.

        One that has no other try is filed as infeasible.

        Raises:
            UserError: If its workers are lost again and again by no fault of its own.
        """
        its_fault = not isinstance(error, WorkerLostError) or error.is_candidates_fault
        reason = str(error) if isinstance(error, WorkerLostError) else "its process died"
        log.warning("the worker of %s was lost: %s", key, reason)
        if self.run.load_evaluation(key) is not None:  # it was lost afterwards
            return False
        if its_fault:
            if self.workers.has_another_try(pending.architecture):
                return True
            self.workers.give_up(pending.architecture)
            return False
        pending.tries_lost += 1
        if pending.tries_lost >= INFRASTRUCTURE_TRIES:
            raise UserError(
                f"the worker of {key} was lost {INFRASTRUCTURE_TRIES} times by no fault of its "
                f"own (last: {reason}); what is finished is kept; put it right and go on with "
                "--resume"
            )
        return True

    def tell(self, trial: optuna.Trial, evaluation: Evaluation) -> None:
        try:
            self.tell_open(trial, evaluation)
        except UpdateFinishedTrialError:
            log.warning(
                "trial %d was taken over by another driver meanwhile; what was found out about it "
                "stays on file",
                trial.number,
            )

    def tell_open(self, trial: optuna.Trial, evaluation: Evaluation) -> None:
        for rule, excess in evaluation.violations.items():
            trial.set_constraint(rule, excess)
        failed = not evaluation.feasible and not any(v > 0 for v in evaluation.violations.values())
        if evaluation.status == "stopped":  # no sampler shall take its accuracy for a full one
            untrained = 1 - evaluation.epochs / self.config.training.epochs
            trial.set_constraint("fully trained", untrained)
        elif failed:
            trial.set_constraint("runs", 1.0)
        trial.set_user_attr(EPOCHS, evaluation.epochs)  # the fidelity of the accuracy
        values = [evaluation.values.get(m.name, m.worst) for m in self.config.objectives]
        fresh = evaluation.hash not in self.told
        if fresh and self.config.search.storage is not None:
            carry(trial, self.run, evaluation)
        if not tell_if_open(self.study, trial, values):
            raise UpdateFinishedTrialError
        self.told.add(evaluation.hash)
        if BASELINE not in trial.user_attrs:
            self.repeats = 0 if fresh else self.repeats + 1
            self.done += fresh
        if fresh:
            name = trial.user_attrs.get(BASELINE, f"trial {trial.number}")
            log.info("%s %s", name, json.dumps(summary(evaluation)))
            self.on_progress(Progress(self.done, self.wanted, name, evaluation))


def names_of(trials: Sequence[optuna.Trial]) -> str:
    """Returns what people call the trials of one architecture; "" for none."""
    return ", ".join(t.user_attrs.get(BASELINE, f"trial {t.number}") for t in trials)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "hash": evaluation.hash,
        "status": evaluation.status,
        "reason": evaluation.reason,
        "values": dict(evaluation.values),
        "seconds": {phase: round(s, 3) for phase, s in evaluation.seconds.items()},
    }


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
