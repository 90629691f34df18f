"""Under way: the candidates that workers have, and what becomes of those that lose theirs."""

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from time import monotonic

import optuna

from latency_models.devices.latency import DeviceBusyError
from nas.evaluation.workers import WorkerLostError, Workers
from nas.runs.activity import ActivityLog
from nas.runs.folder import RunFolder
from nas.study.names import BASELINE
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

START_TRIES = 3  # of workers one after another, where not one ever got through its start
INFRASTRUCTURE_TRIES = 10  # how often a candidate may lose its worker by nobody's fault

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture under way, by its hash, and the trials that wait for its evaluation.

    Attributes:
        since: When it was submitted, by a monotonic clock, in seconds.
    """

    key: str
    architecture: Architecture
    trials: list[optuna.Trial]
    since: float


@dataclass(slots=True)
class Retries:
    """Decides whether a candidate that lost its worker is given to another one.

    Attributes:
        lost_at_start: Workers that were lost before they were ready, since one was.
    """

    workers: Workers
    run: RunFolder
    lost_at_start: int = 0
    any_ready: bool = False
    _blameless: Counter[str] = field(default_factory=Counter)

    def allow(self, candidate: Candidate, error: Exception) -> bool:
        """Whether it is to be submitted again; one that has no other try is filed as infeasible.

        Raises:
            UserError: If its workers are lost again and again by no fault of its own, or none
                gets through its start.
        """
        key, architecture = candidate.key, candidate.architecture
        its_fault = not isinstance(error, WorkerLostError) or error.is_candidates_fault
        reason = str(error) if isinstance(error, WorkerLostError) else "its process died"
        log.warning("the worker of %s was lost: %s", key, reason)
        if self.run.load_evaluation(key) is not None:  # it was lost afterwards
            return False
        if its_fault:
            self.any_ready = True
            if self.workers.has_another_try(architecture):
                return True
            self.workers.give_up(architecture)
            return False
        self.check_starts(error, reason)
        self._blameless[key] += 1
        if self._blameless[key] >= INFRASTRUCTURE_TRIES:
            raise UserError(
                f"the worker of {key} was lost {INFRASTRUCTURE_TRIES} times by no fault of its "
                f"own (last: {reason}); what is finished is kept; put it right and go on with "
                "--resume"
            )
        return True

    def check_starts(self, error: Exception, reason: str) -> None:
        """Counts workers that are lost at their start.

        Raises:
            UserError: If so many are lost and none was ever ready: every other one would be.
        """
        self.lost_at_start += isinstance(error, WorkerLostError) and error.at_start
        if self.lost_at_start >= START_TRIES and not self.any_ready:
            raise UserError(
                f"no worker gets through its start: {self.lost_at_start} were lost there (last: "
                f"{reason}); look for their own messages above, start fewer with --workers where "
                "memory is short, and go on with --resume"
            )


@dataclass(slots=True)
class UnderWay:
    """The candidates that are being evaluated for one driver.

    Attributes:
        activity: Where others may read what is under way.
        seconds: What each candidate took that ended.
        leave: Whether to let go of a candidate whose device is too busy to measure it.
    """

    workers: Workers
    run: RunFolder
    activity: ActivityLog | None
    clock: Callable[[], float] = monotonic
    seconds: list[float] = field(default_factory=list)
    leave: "Callable[[Candidate, DeviceBusyError], bool]" = lambda candidate, error: False
    candidates: dict[str, Candidate] = field(default_factory=dict)
    futures: "dict[Future[str], Candidate]" = field(default_factory=dict)
    retries: Retries = field(init=False)

    def __post_init__(self) -> None:
        self.retries = Retries(self.workers, self.run)

    @property
    def has_room(self) -> bool:
        return len(self.futures) < self.workers.slots

    @property
    def numbers(self) -> set[int]:
        """Numbers of the trials that wait for an evaluation of this driver."""
        return {t.number for candidate in self.candidates.values() for t in candidate.trials}

    @property
    def num_searched(self) -> int:
        """How many candidates count towards what is asked for: no baselines."""
        return sum(
            any(BASELINE not in trial.user_attrs for trial in candidate.trials)
            for candidate in self.candidates.values()
        )

    def names_and_seconds(self) -> tuple[list[str], list[float]]:
        """Returns what is under way, as people call it, and for how long."""
        at_work = list(self.candidates.values())
        names = [name_of(each.trials[0]) if each.trials else each.key for each in at_work]
        return names, [self.clock() - each.since for each in at_work]

    def submit(self, architecture: Architecture, *trials: optuna.Trial) -> None:
        key = graph_hash(architecture.graph)
        candidate = self.candidates[key] = Candidate(key, architecture, list(trials), self.clock())
        if self.activity is not None:
            self.activity.set_slots(self.workers.slots)
            self.activity.began(key, ", ".join(map(name_of, trials)))
        self.hand_over(candidate)

    def hand_over(self, candidate: Candidate) -> None:
        """Gives a candidate to a worker; one in this process evaluates it at once."""
        try:
            self.futures[self.workers.submit(candidate.architecture)] = candidate
        except DeviceBusyError as error:
            self.let_go(candidate, error)

    def let_go(self, candidate: Candidate, error: DeviceBusyError) -> None:
        """Forgets a candidate that is left, and raises ``error`` for others."""
        if not self.leave(candidate, error):
            raise error
        self.forget(candidate)

    def forget(self, candidate: Candidate) -> None:
        del self.candidates[candidate.key]
        if self.activity is not None:
            self.activity.ended(candidate.key)

    def finished(self, wait_s: float) -> "set[Future[str]]":
        """Returns what ends within so many seconds."""
        return wait(self.futures, wait_s, FIRST_COMPLETED).done

    def end(self, future: "Future[str]") -> Candidate | None:
        """Returns the candidate that is evaluated now; None where it is tried again, or left."""
        candidate = self.futures.pop(future)
        try:
            future.result()
        except (BrokenProcessPool, WorkerLostError) as error:
            if self.retries.allow(candidate, error):
                self.hand_over(candidate)
                return None
        except DeviceBusyError as error:
            self.let_go(candidate, error)
            return None
        else:
            self.retries.any_ready = True
        self.forget(candidate)
        self.seconds.append(self.clock() - candidate.since)
        return candidate


def name_of(trial: optuna.Trial) -> str:
    """Returns what people call a trial."""
    name: str = trial.user_attrs.get(BASELINE, f"trial {trial.number}")
    return name
