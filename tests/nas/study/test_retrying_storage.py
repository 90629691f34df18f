"""A call to a database server is made again while the server is away, and counts once."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from nas.study.retrying_storage import RetryingStorage, StorageLostError, is_lost, reason_of
from nas.study.storages import one_connection_a_question, open_storage
from search_spaces.graphs.errors import UserError
from tests.nas.parts.postgres import Postgres, postgres_server

pytestmark = pytest.mark.slow
T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as made:
        yield made


def study_in(storage: BaseStorage) -> optuna.Study:
    return optuna.create_study(storage=storage, directions=["maximize", "minimize"])


def test_a_server_that_comes_back_is_waited_for_with_one_warning(
    server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            server.start()

    storage = RetryingStorage(
        RDBStorage(server.url, one_connection_a_question()), "the database", pause=pause
    )
    study = study_in(storage)
    trial = study.ask()
    with caplog.at_level(logging.INFO, logger="nas.search"):
        server.kill()
        trial.set_user_attr("hash", "a")
        study.tell(trial, [1.0, 2.0])

    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert study.trials[0].user_attrs == {"hash": "a"}
    assert study.trials[0].state == TrialState.COMPLETE
    said = [record.message for record in caplog.records if record.name == "nas.search"]
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert "answers again after" in said[1]


def test_a_server_that_stays_away_is_an_error_that_says_how_long_it_was_tried(
    server: Postgres,
) -> None:
    storage = open_storage(server.url, Path(), limit_s=0.5)
    study = study_in(storage)
    server.kill()
    try:
        with pytest.raises(StorageLostError, match=r"refused.*; it was tried for \d+ s"):
            study.set_user_attr("a", 1)
    finally:
        server.start()


class Forgetful(RetryingStorage):
    """Loses its connection right after what it was asked is done."""

    losses = 0

    def _retry(self, method: Callable[..., T], *given: Any) -> T:  # noqa: ANN401
        def done_and_lost() -> T:
            result = method(*given)
            if self.losses:
                self.losses -= 1
                raise OperationalError("", None, Exception("server closed the connection"))
            return result

        return super()._retry(done_and_lost)


def test_what_was_told_when_the_connection_broke_is_told_once(server: Postgres) -> None:
    storage = Forgetful(RDBStorage(server.url, one_connection_a_question()), "")
    study = study_in(storage)
    trial = study.ask()
    storage.losses = 1
    assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0, 2.0])

    assert [t.values for t in study.get_trials()] == [[1.0, 2.0]]


def test_what_another_driver_told_is_no_success(server: Postgres) -> None:
    storage = open_storage(server.url, Path())
    study = study_in(storage)
    trial = study.ask()
    study.tell(trial, state=TrialState.FAIL)

    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0, 2.0])


def test_a_trial_that_was_made_when_the_connection_broke_is_left_without_a_driver(
    server: Postgres,
) -> None:
    storage = Forgetful(RDBStorage(server.url, one_connection_a_question()), "")
    study = study_in(storage)
    storage.losses = 1

    storage.create_new_trial(study._study_id)

    assert [t.state for t in study.get_trials()] == [TrialState.RUNNING] * 2
    assert study.get_trials()[0].user_attrs == {}


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("connection refused", True),
        ("FATAL: the database system is starting up", True),
        ('FATAL: password authentication failed for user "me"', False),
        ('FATAL: database "x" does not exist', False),
    ],
)
def test_only_what_may_pass_is_waited_for(said: str, lost: bool) -> None:
    error = OperationalError("select", None, Exception(said))

    assert is_lost(error) is lost
    assert reason_of(error) == said
    assert not is_lost(UserError("the disk is full"))
