"""Every storage of a study keeps what Optuna asks of one, by Optuna's own tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from nas.study.retrying_storage import RetryingStorage
from nas.study.storages import open_storage
from tests.nas.parts.postgres import Postgres, postgres_server


class TestJournalOfARun(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_storage(None, tmp_path / "study.journal")


class TestSharedJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_storage(f"journal:{tmp_path}/shared.journal", Path())


class TestRetryingJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return RetryingStorage(open_storage(None, tmp_path / "study.journal"), "journal")


def emptied(storage: BaseStorage) -> BaseStorage:
    """A storage of which earlier tests made the tables, as that takes longer than most tests."""
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    return storage


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/studies.db"


@pytest.mark.slow
class TestDatabaseFile(StorageTestCase):
    @pytest.fixture
    def storage(self, url: str) -> BaseStorage:
        return emptied(open_storage(url, Path()))


@pytest.mark.slow
class TestRetryingDatabaseFile(StorageTestCase):
    @pytest.fixture
    def storage(self, url: str) -> BaseStorage:
        return emptied(RetryingStorage(open_storage(url, Path()), url))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as running:
        yield running


@pytest.mark.cluster
class TestDatabaseServer(StorageTestCase):
    @pytest.fixture
    def storage(self, server: Postgres) -> BaseStorage:
        storage = emptied(open_storage(server.url, Path()))
        assert isinstance(storage, RetryingStorage)
        return storage
