"""The search loop: asks a study for architectures, has them evaluated, tells what was found out.

It alone talks to the study; workers only evaluate.
"""

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event
from time import sleep
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from latency_models.devices.latency import DeviceBusyError
from nas.evaluation.workers import Workers
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting
from nas.runs.activity import ActivityLog
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.search.proposals.gate import NothingToProposeError, SpaceUsedUpError
from nas.search.proposals.proposer import Proposer
from nas.search.under_way import Candidate, UnderWay, name_of
from nas.study.attributes import carry
from nas.study.claims import count
from nas.study.drivers import Drivers
from nas.study.gains import why_enough
from nas.study.names import BASELINE, DRIVER, EPOCHS, EVALUATION, HASH
from nas.study.sharing import Sharing
from nas.study.study import tell_if_open, told_constraints, told_values
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

PATIENCE = 100  # repeated proposals in a row after which a sampler is not asked any more

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


def ignore_notice(line: str) -> None:
    """For searches that nobody watches; the run's log has it."""


@dataclass(slots=True)
class SearchLoop:
    """Asks, submits, tells until enough distinct architectures are evaluated.

    Attributes:
        drivers: This driver's view of the study and of all that search in it.
        activity: Where others may read what is under way.
        stop: Once it is set, nothing new is begun.
        told: Hashes of all that is evaluated.
        done: How many of them were searched: no baselines.
        repeats: Proposals in a row that were known already.
        ending: Why nothing more is proposed; "" while something may be.
        used_up: Whether that is because the space has no more.
        notify: Told what people are to know at once, a line each.
    """

    config: RunConfig
    setting: Setting
    drivers: Drivers
    workers: Workers
    on_progress: OnProgress = ignore_progress
    activity: ActivityLog | None = None
    stop: Event = field(default_factory=Event)
    told: set[str] = field(default_factory=set)
    done: int = 0
    repeats: int = 0
    ending: str = ""
    used_up: bool = False
    notify: Callable[[str], None] = ignore_notice
    proposer: Proposer = field(init=False)
    sharing: Sharing = field(init=False)
    under_way: UnderWay = field(init=False)

    def __post_init__(self) -> None:
        self.proposer = Proposer(self.setting, self.study)
        self.sharing = Sharing(self.study, self.drivers, self.wanted, self.stop.is_set)
        self.under_way = UnderWay(self.workers, self.run, self.activity, leave=self.leave)

    @property
    def study(self) -> optuna.Study:
        return self.drivers.study

    @property
    def run(self) -> RunFolder:
        return self.drivers.run

    @property
    def wanted(self) -> int:
        return self.config.search.trials

    def run_all(self) -> None:
        poll_s = self.drivers.timing.poll_s
        lost = self.count_finished()
        while True:
            while not self.stop.is_set() and self.under_way.has_room:
                if lost:
                    self.under_way.submit(lost.pop())
                elif self.more():
                    self.ask()
                else:
                    break
            if self.under_way.futures:
                # Not for good: room in a cluster comes and goes, and so do other drivers.
                for future in self.under_way.finished(poll_s):
                    self.finish(future)
            elif self.stop.is_set() or not self.sharing.is_waiting_for_others(self.done):
                return
            else:
                sleep(poll_s)

    def evaluate_again(self, architectures: Sequence[Architecture]) -> None:
        """Has networks evaluated beside the study: no trial is told what is found."""
        left = list(architectures)
        while self.under_way.futures or (left and not self.stop.is_set()):
            while left and self.under_way.has_room and not self.stop.is_set():
                self.under_way.submit(left.pop(0))
            for future in self.under_way.finished(self.drivers.timing.poll_s):
                self.finish(future)

    def count_finished(self) -> list[Architecture]:
        """Learns from the study what is evaluated; returns those whose evaluation is lost."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        counted = count(trials)
        self.told, self.done = set(counted.told), counted.done
        by_hash = {trial.user_attrs[HASH]: trial for trial in trials}
        return [
            self.proposer.decided(trial)
            for key, trial in by_hash.items()
            if EVALUATION not in trial.user_attrs and self.run.load_evaluation(key) is None
        ]

    def more(self) -> bool:
        """Whether to ask for another trial: some are queued, or too few are done or under way."""
        if self.repeats >= PATIENCE and not self.ending:
            self.propose_otherwise()
        elsewhere = 0
        if self.drivers.notice_others():
            counted = self.sharing.catch_up(self.under_way.numbers)
            self.told, self.done = set(counted.told), counted.done
            elsewhere = counted.under_way
        begun = self.done + elsewhere + self.under_way.num_searched
        if begun < self.wanted and not self.ending and not self.has_enough():
            return True
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def has_enough(self) -> bool:
        """Whether `search.stop` ends the search, unless what is under way brings something."""
        if self.config.search.stop is None:
            return False
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return bool(why_enough(self.config, trials))

    def propose_otherwise(self) -> None:
        """Leaves a sampler that only repeats itself alone, or ends where that was done before."""
        repeats, self.repeats = self.repeats, 0
        said = f"the sampler repeats itself: {repeats} proposals in a row were known already"
        if self.proposer.leave_the_sampler():
            self.tell_people(f"{said}; going on with random architectures that are new")
        else:
            self.ending = f"{said}; try another search.sampler, or enlarge the space"
            log.warning("%s", self.ending)

    def tell_people(self, line: str) -> None:
        log.warning("%s", line)
        self.notify(line)

    def ask(self) -> None:
        trial = self.study.ask()
        try:
            self.take(trial)
        except UpdateFinishedTrialError:
            log.warning("trial %d was taken over by another driver", trial.number)

    def take(self, trial: optuna.Trial) -> None:
        """Decides a trial and has it evaluated, where that is for this driver to do.

        Raises:
            UpdateFinishedTrialError: If another driver took it over meanwhile.
        """
        trial.set_user_attr(DRIVER, self.drivers.me)
        try:
            architecture, notes = self.proposer.propose(trial)
        except NothingToProposeError as error:
            tell_if_open(self.study, trial, state=TrialState.FAIL)
            self.ending, self.used_up = str(error), isinstance(error, SpaceUsedUpError)
            log.warning("%s", error)
            return
        except ValueError as error:  # a queued trial; what samplers decide has passed the gate
            tell_if_open(self.study, trial, state=TrialState.FAIL)
            self.repeats += 1
            self.tell_people(f"{name_of(trial)} makes no network and is left out: {error}")
            return
        for name, value in notes.items():
            trial.set_user_attr(name, value)
        key = graph_hash(architecture.graph)
        if key in self.under_way.candidates:
            trial.set_user_attr(HASH, key)
            self.under_way.candidates[key].trials.append(trial)
            self.repeats += 1
            return
        evaluation = self.run.load_evaluation(key)
        ruling = self.sharing.claim(trial, key, self.under_way.numbers)
        if ruling.outcome != "mine":
            self.sharing.give_back(trial, ruling.outcome)
            self.repeats += ruling.outcome == "under way elsewhere"
            return
        evaluation = evaluation or ruling.known
        if evaluation is not None:
            self.tell(trial, evaluation)
            return
        self.under_way.submit(architecture, trial)

    def finish(self, future: "Future[str]") -> None:
        candidate = self.under_way.end(future)
        if candidate is None:
            return
        evaluation = self.run.load_evaluation(candidate.key)
        if evaluation is None:
            raise AssertionError(f"the worker filed no evaluation of {candidate.key}")
        for trial in candidate.trials:
            self.tell(trial, evaluation)

    def leave(self, candidate: Candidate, error: DeviceBusyError) -> bool:
        """Queues a candidate again where a search that stops met a busy machine.

        Returns whether it does stop; else the machine was waited for, and that is its end.
        """
        if not self.stop.is_set():
            return False
        for trial in candidate.trials:
            self.sharing.give_back(trial, "stopped")
        names = ", ".join(map(name_of, candidate.trials)) or candidate.key
        self.tell_people(f"{names} is left for --resume, not measured: {error}")
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
        for rule, excess in told_constraints(self.config, evaluation).items():
            trial.set_constraint(rule, excess)
        trial.set_user_attr(EPOCHS, evaluation.epochs)  # the fidelity of the accuracy
        values = told_values(self.config, evaluation)
        is_new = evaluation.hash not in self.told
        if is_new and self.config.search.storage is not None:
            carry(trial, self.run, evaluation)
        if not tell_if_open(self.study, trial, values):
            raise UpdateFinishedTrialError
        self.told.add(evaluation.hash)
        if BASELINE not in trial.user_attrs:
            self.repeats = 0 if is_new else self.repeats + 1
            self.done += is_new
        if is_new:
            log.info("%s %s", name_of(trial), json.dumps(summary(evaluation)))
            self.on_progress(Progress(self.done, self.wanted, name_of(trial), evaluation))


def summary(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "hash": evaluation.hash,
        "status": evaluation.status,
        "reason": evaluation.reason,
        "values": dict(evaluation.values),
        "seconds": {phase: round(s, 3) for phase, s in evaluation.seconds.items()},
    }
