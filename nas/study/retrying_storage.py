"""Retrying storage: a study in a database server that may be restarted under a running search.

A call that loses its connection is made again until the server answers or a time limit is over.
A call may have been done although its connection broke:

- a trial that was made and never heard of stays without a driver, counts for nobody, and is put
  away by whoever sees it standing for long (`nas.study.drivers`);
- a trial that was told is found to be told when it is told again, and that is no error;
- attributes and parameters are written again as they are.
"""

import logging
from collections.abc import Callable, Container, Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from latency_models.devices.lazy import LazyModule
from search_spaces.graphs.errors import plain

if TYPE_CHECKING:
    from sqlalchemy import exc
else:
    exc = LazyModule("sqlalchemy.exc")  # slow to import, and a run's own journal needs none of it

LIMIT_S = 60.0  # how long a lost server is waited for
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0
# SQLSTATE classes and codes that pass: connection, server shut down or starting, deadlock.
PASSING = ("08", "57P", "40", "53300")
REFUSALS = ("authentication failed", "no password", "does not exist", "pg_hba", "denied")

log = logging.getLogger("nas.search")
# Optuna asks once more for all trials, and says so, where ours asks again anyway.
logging.getLogger("optuna.storages._rdb.storage").addFilter(
    lambda record: not record.getMessage().startswith("Caught an error from sqlalchemy")
)
T = TypeVar("T")


class StorageLostError(StorageInternalError):
    """A server that did not answer again within the time limit."""


class RetryingStorage(BaseStorage):
    """A storage whose server may be restarted under a search.

    Args:
        storage: What is asked.
        address: Of it, for people.
        limit_s: How long a call is repeated, in seconds, before it fails.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        storage: BaseStorage,
        address: str,
        *,
        limit_s: float = LIMIT_S,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._storage = storage
        self._address = address
        self._limit_s = limit_s
        self._clock = clock
        self._pause = pause
        self._lost_at: float | None = None

    def _retry(self, method: Callable[..., T], *given: Any) -> T:  # noqa: ANN401
        """Returns what a call does, made again while the server is away.

        Raises:
            StorageLostError: If it stays away.
        """
        start = self._clock()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = method(*given)
            except (StorageInternalError, exc.DBAPIError) as error:
                waited_s = self._clock() - start
                if not is_lost(error):
                    raise
                if waited_s + pause_s > self._limit_s:
                    raise StorageLostError(
                        f"{reason_of(error)}; it was tried for {waited_s:.0f} s"
                    ) from error
                self._note_lost(error)
            else:
                self._note_found()
                return result
            self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _note_lost(self, error: Exception) -> None:
        if self._lost_at is None:
            self._lost_at = self._clock()
            log.warning(
                "the study's storage %s does not answer (%s); trying for up to %g s",
                *(self._address, reason_of(error), self._limit_s),
            )

    def _note_found(self) -> None:
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            log.info("the study's storage answers again after %.1f s", self._clock() - lost_at)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self._storage.create_new_study(directions, study_name)  # twice, it would be there

    def delete_study(self, study_id: int) -> None:
        self._storage.delete_study(study_id)  # twice, it would be gone

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        self._retry(self._storage.set_study_user_attr, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        self._retry(self._storage.set_study_system_attr, study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._retry(self._storage.get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._retry(self._storage.get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._retry(self._storage.get_study_directions, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._retry(self._storage.get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._retry(self._storage.get_study_system_attrs, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._retry(self._storage.get_all_studies)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._retry(self._storage.create_new_trial, study_id, template_trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        given = (trial_id, param_name, param_value_internal, distribution)
        self._retry(self._storage.set_trial_param, *given)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        attempts = 0

        def tell() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return self._storage.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                trial = self._storage.get_trial(trial_id)
                told = None if values is None else list(values)
                if attempts > 1 and (trial.state, trial.values) == (state, told):
                    return True  # by the attempt before, whose answer was lost
                raise

        return self._retry(tell)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        given = (trial_id, step, intermediate_value)
        self._retry(self._storage.set_trial_intermediate_value, *given)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        self._retry(self._storage.set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        self._retry(self._storage.set_trial_system_attr, trial_id, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._retry(self._storage.get_trial, trial_id)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        get_id = self._storage.get_trial_id_from_study_id_trial_number
        return self._retry(get_id, study_id, trial_number)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        return self._retry(self._storage.get_all_trials, study_id, deepcopy, states)


def driver_error(error: BaseException | None) -> "exc.DBAPIError | None":
    """Returns what the database's driver said, from among an error's causes."""
    while error is not None and not isinstance(error, exc.DBAPIError):
        error = error.__cause__ or error.__context__
    return error


def is_lost(error: BaseException) -> bool:
    """Whether a server is away, and may be back; what it refuses for good is no such thing."""
    found = driver_error(error)
    if not isinstance(found, exc.OperationalError | exc.InterfaceError):
        return False
    state = getattr(found.orig, "sqlstate", None) or getattr(found.orig, "pgcode", None)
    if state is not None:
        return str(state).startswith(PASSING)
    # What goes wrong while connecting has no code.
    return not any(refusal in str(found.orig) for refusal in REFUSALS)


def reason_of(error: BaseException) -> str:
    """Returns why a database fails, in one line and in its own words."""
    found = driver_error(error)
    said = str(found.orig if found is not None else error.__cause__ or error)
    return plain(said) or type(error).__name__
