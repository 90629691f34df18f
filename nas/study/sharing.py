"""Sharing: what a search loop does about the other drivers of its study.

It learns what they did, takes over from those that are gone, and claims what it evaluates itself.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas.runs.evaluation import Evaluation
from nas.study.attributes import known_evaluation
from nas.study.claims import Count, Verdict, count, is_drawing, next_ticket, verdict
from nas.study.drivers import Drivers
from nas.study.liveness import owner
from nas.study.names import BASELINE, DRAWING, GIVEN_BACK, HASH, TICKET
from nas.study.study import retake, tell_if_open

LEAST_POLL_S = 0.05  # between two looks at those that draw a ticket; it doubles up to the usual

Outcome = Verdict | Literal["stopped"]
log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of a trial that was claimed.

    Attributes:
        known: What another driver found out about its architecture.
    """

    outcome: Outcome
    known: Evaluation | None = None


@dataclass(frozen=True, slots=True)
class Sharing:
    """A study as one of its drivers shares it.

    Attributes:
        wanted: How many searched architectures are asked for.
        is_stopping: Whether nothing new is to be begun.
    """

    study: optuna.Study
    drivers: Drivers
    wanted: int
    is_stopping: Callable[[], bool]

    def catch_up(self, ours: frozenset[int] | set[int]) -> Count:
        """Takes over from drivers that are gone, and counts what others did and have under way.

        Args:
            ours: Numbers of the trials that this driver works on.
        """
        trials = self.study.get_trials(deepcopy=False)
        self.take_over(trials, ours)
        return count(trials, ours)

    def take_over(self, trials: list[FrozenTrial], ours: frozenset[int] | set[int]) -> None:
        for trial in self.drivers.abandoned(trials, ours):
            if retake(self.study, trial):
                log.info("trial %d of %s is taken over", trial.number, owner(trial))

    def is_waiting_for_others(self, done: int) -> bool:
        """Whether something is under way elsewhere that would be to do here if its driver died.

        Args:
            done: How many searched architectures are evaluated.
        """
        if not self.drivers.notice_others():
            return False
        enough = done >= self.wanted
        return any(
            # What is decided is beyond what was asked for here, and another driver's affair.
            not (enough and HASH in trial.user_attrs and BASELINE not in trial.user_attrs)
            for trial in self.study.get_trials(
                deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)
            )
        )

    def claim(self, trial: optuna.Trial, key: str, ours: frozenset[int] | set[int]) -> Ruling:
        """Claims a trial that is decided to be the graph with hash ``key``.

        Others that draw a ticket at the same moment are waited for: until they have drawn it, or
        are seen to be dead, or this search is stopped.

        Args:
            ours: Numbers of the other trials that this driver works on.

        Raises:
            UpdateFinishedTrialError: If another driver took the trial over meanwhile.
        """
        was_shared = self.drivers.shared
        if was_shared:  # before the hash, which without a ticket is a claim of the first
            trial.set_user_attr(TICKET, DRAWING)
        trial.set_user_attr(HASH, key)
        if not self.drivers.notice_others():
            return Ruling("mine")
        if not was_shared:
            trial.set_user_attr(TICKET, DRAWING)
        trial.set_user_attr(TICKET, next_ticket(self.study.get_trials(deepcopy=False)))
        pause_s = LEAST_POLL_S
        while any(map(is_drawing, trials := self.study.get_trials(deepcopy=False))):
            if self.is_stopping():
                return Ruling("stopped")
            self.take_over(trials, ours | {trial.number})
            sleep(min(pause_s, self.drivers.timing.poll_s))
            pause_s *= 2
        if trials[trial.number].state != TrialState.RUNNING:
            raise UpdateFinishedTrialError(f"trial {trial.number} is finished")
        found = verdict(trials, trial.number, self.wanted)
        return Ruling(found, known_evaluation(trials, key) if found == "mine" else None)

    def give_back(self, trial: optuna.Trial, why: Outcome) -> None:
        """Ends a trial that is not to be evaluated here; one of a stopped search is queued."""
        if why == "stopped":
            retake(self.study, self.study.get_trials(deepcopy=False)[trial.number])
            return
        trial.set_user_attr(GIVEN_BACK, why)
        tell_if_open(self.study, trial, state=TrialState.FAIL)
        log.info("trial %d is given back: %s", trial.number, why)
