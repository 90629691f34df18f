"""Patient storage: a study in a database server that may be restarted under a running search.

A call that loses its connection is made again until the server answers or a time limit is over.
A call may have been done although its connection broke:

- a trial that was made and never heard of stays without a driver, counts for nobody, and is put
  away by whoever sees it standing for long (`nas.study.drivers`);
- a trial that was told is found to be told when it is told again, and that is no error;
- attributes and parameters are written again as they are.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from nas.runs.redaction import without_passwords

LIMIT_S = 60.0  # how long a lost server is waited for
CONNECT_S = 10  # how long one attempt to connect may take
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


class PatientStorage(RDBStorage):
    """A database server whose restarts a search survives.

    Args:
        limit_s: How long a call is repeated, in seconds, before it fails.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        limit_s: float = LIMIT_S,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._lost_at: float | None = None
        is_given = "connect_timeout" in url or not url.startswith("postgresql")
        arguments = {} if is_given else {"connect_timeout": CONNECT_S}
        # A connection a question: none is left open behind a search, or lost while it trains.
        super().__init__(url, {"poolclass": NullPool, "connect_args": arguments})

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        attempts = 0

        def tell() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                if attempts > 1 and self._stands_as(trial_id, state, values):
                    return True
                raise

        return self._patiently(tell)

    def _stands_as(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        trial = RDBStorage.get_trial(self, trial_id)
        told = None if values is None else list(values)
        return trial.state == state and trial.values == told

    def _patiently(self, call: Callable[[], T]) -> T:
        """Returns what ``call`` does, made again while the server is away.

        Raises:
            StorageLostError: If it stays away.
        """
        start = self._clock()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = call()
            except (StorageInternalError, DBAPIError) as error:
                waited_s = self._clock() - start
                if not is_lost(error):
                    raise
                if waited_s + pause_s > self.limit_s:
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
        with self._lock:
            if self._lost_at is not None:
                return
            self._lost_at = self._clock()
        log.warning(
            "the study's storage %s does not answer (%s); trying for up to %g s",
            without_passwords(str(self.url)),
            reason_of(error),
            self.limit_s,
        )

    def _note_found(self) -> None:
        if self._lost_at is None:
            return
        with self._lock:
            lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            log.info("the study's storage answers again after %.1f s", self._clock() - lost_at)


def patient(name: str) -> Callable[..., Any]:
    """Returns the storage's method of that name, made patient."""
    method = getattr(RDBStorage, name)

    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._patiently(lambda: method(self, *args, **kwargs))

    call.__name__, call.__doc__ = name, method.__doc__
    return call


# What a study asks of its storage, also through Optuna's cache in front of it.
for _name in (
    "_create_new_trial",
    "_get_trials",
    "_set_trial_param",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_param",
    "set_trial_system_attr",
    "set_trial_user_attr",
):
    setattr(PatientStorage, _name, patient(_name))


def driver_error(error: BaseException | None) -> DBAPIError | None:
    """Returns what the database's driver said, from among an error's causes."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__ or error.__context__
    return error


def is_lost(error: BaseException) -> bool:
    """Whether a server is away, and may be back; what it refuses for good is no such thing."""
    found = driver_error(error)
    if not isinstance(found, OperationalError | InterfaceError):
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
    return " ".join(said.split())[:300] or type(error).__name__
