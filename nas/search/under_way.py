"""Under way: the candidates that workers have, and what becomes of those that lose theirs."""

import logging
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

import optuna

from nas.evaluation.workers import WorkerLostError, Workers
from nas.runs.activity import ActivityLog
from nas.runs.folder import RunFolder
from nas.study.names import BASELINE
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

INFRASTRUCTURE_TRIES = 10  # how often a candidate may lose its worker by nobody's fault

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture under way, by its hash, and the trials that wait for its evaluation."""

    key: str
    architecture: Architecture
    trials: list[optuna.Trial]


@dataclass(frozen=True, slots=True)
class Retries:
    """Decides whether a candidate that lost its worker is given to another one."""

    workers: Workers
    run: RunFolder
    _blameless: Counter[str] = field(default_factory=Counter)

    def allow(self, candidate: Candidate, error: Exception) -> bool:
        """Whether it is to be submitted again; one that has no other try is filed as infeasible.

        Raises:
            UserError: If its workers are lost again and again by no fault of its own.
        """
        key, architecture = candidate.key, candidate.architecture
        its_fault = not isinstance(error, WorkerLostError) or error.is_candidates_fault
        reason = str(error) if isinstance(error, WorkerLostError) else "its process died"
        log.warning("the worker of %s was lost: %s", key, reason)
        if self.run.load_evaluation(key) is not None:  # it was lost afterwards
            return False
        if its_fault:
            if self.workers.has_another_try(architecture):
                return True
            self.workers.give_up(architecture)
            return False
        self._blameless[key] += 1
        if self._blameless[key] >= INFRASTRUCTURE_TRIES:
            raise UserError(
                f"the worker of {key} was lost {INFRASTRUCTURE_TRIES} times by no fault of its "
                f"own (last: {reason}); what is finished is kept; put it right and go on with "
                "--resume"
            )
        return True


@dataclass(slots=True)
class UnderWay:
    """The candidates that are being evaluated for one driver.

    Attributes:
        activity: Where others may read what is under way.
    """

    workers: Workers
    run: RunFolder
    activity: ActivityLog | None
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

    def submit(self, architecture: Architecture, *trials: optuna.Trial) -> None:
        key = graph_hash(architecture.graph)
        candidate = self.candidates[key] = Candidate(key, architecture, list(trials))
        if self.activity is not None:
            self.activity.set_slots(self.workers.slots)
            self.activity.began(key, ", ".join(map(name_of, trials)))
        self.futures[self.workers.submit(architecture)] = candidate

    def finished(self, wait_s: float) -> "set[Future[str]]":
        """Returns what ends within so many seconds."""
        return wait(self.futures, wait_s, FIRST_COMPLETED).done

    def end(self, future: "Future[str]") -> Candidate | None:
        """Returns the candidate that is evaluated now; None where it is tried again."""
        candidate = self.futures.pop(future)
        try:
            future.result()
        except (BrokenProcessPool, WorkerLostError) as error:
            if self.retries.allow(candidate, error):
                self.futures[self.workers.submit(candidate.architecture)] = candidate
                return None
        del self.candidates[candidate.key]
        if self.activity is not None:
            self.activity.ended(candidate.key)
        return candidate


def name_of(trial: optuna.Trial) -> str:
    """Returns what people call a trial."""
    name: str = trial.user_attrs.get(BASELINE, f"trial {trial.number}")
    return name
