"""Storages: where the trials of a study are kept, by address.

    (none)                                  Optuna's journal file in the run folder
    journal:PATH                            such a file on a disk that several drivers share
    sqlite:///FILE                          a database file
    postgresql+psycopg://USER@HOST/NAME     a database server

A password may stand in the address. It is kept in this process's memory only; elsewhere it comes
from the address that is given again, from ``PGPASSWORD`` or from ``~/.pgpass``.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO, Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file

from nas.problem.addresses import (
    JOURNAL,
    SQLITE,
    address_only,
    check_address,
    remember,
    without_passwords,
)
from nas.study.retrying_storage import LIMIT_S, RetryingStorage, reason_of
from search_spaces.graphs.errors import UserError

CONNECT_S = 10  # how long one attempt to connect to a server may take

_given: dict[str, str] = {}  # addresses with their passwords, by the address alone


def remember_password(url: str | None) -> None:
    """Keeps an address that was given, so that what is written without its password opens."""
    if url is not None and address_only(url) != url:
        remember(url)
        _given[address_only(url)] = url


def open_storage(
    url: str | None, journal: Path, *, limit_s: float = LIMIT_S, make: bool = True
) -> BaseStorage:
    """Returns the storage of a study: the run's own journal file, or what is at ``url``.

    Args:
        limit_s: How long a server that is lost later on is waited for.
        make: Whether a journal or database file that is not there is begun.

    Raises:
        UserError: If it is of no known kind, cannot be reached, or is not there and not made.
    """
    if url is None:
        return JournalStorage(SharedJournal(journal))
    check_address(url)
    if url.startswith(JOURNAL):
        return open_journal(Path(url.removeprefix(JOURNAL)), make)
    if url.startswith(SQLITE):
        return open_file(url, make)
    return open_database(_given.get(url, url), limit_s)


def is_file(url: str | None) -> bool:
    """Whether a study is kept in a file, so that no server can be away."""
    return url is None or url.startswith((JOURNAL, SQLITE))


@contextmanager
def reading_study(url: str | None, journal: Path) -> Iterator[None]:
    """Says in one line that a study cannot be read, whatever is wrong with what is kept of it.

    Every storage has its own errors, and a journal is replayed line by line without a check.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        where = without_passwords(url or str(journal))
        raise UserError(
            f"cannot read the study in {where}: {type(error).__name__} {reason_of(error)}; check "
            "that it is there, whole and can be reached, or restore it from a copy"
        ) from None


def open_journal(path: Path, make: bool) -> BaseStorage:
    path = path.absolute()
    if not path.parent.is_dir() or (not make and not path.exists()):
        missing = path if path.parent.is_dir() else path.parent
        raise UserError(
            f"cannot open study storage journal:{path}: {missing} does not exist; check that the "
            "path is right and its disk mounted"
        )
    try:
        journal = SharedJournal(path)
        with get_lock_file(SystemLock(path)):  # not every disk has locks
            return JournalStorage(journal)
    except OSError as error:
        raise UserError(
            f"cannot open study storage journal:{path}: {error.strerror}; check that the file may "
            "be read and written, and that its disk has locks (flock)"
        ) from None


class SharedJournal(JournalFileBackend):
    """A journal whose writers may be killed: in the middle of a line, or holding its lock."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), SystemLock(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with get_lock_file(self._lock), open(self._file_path, "rb+") as file:
            if not ends_with_a_line(file.fileno()):
                file.truncate(file.read().rfind(b"\n") + 1)
        super().append_logs(logs)


class SystemLock(BaseJournalFileLock):
    """A lock that the system frees when its holder dies, also between machines of one disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        file = self._path.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        return True

    def release(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None


def ends_with_a_line(file: int) -> bool:
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


def open_file(url: str, make: bool) -> BaseStorage:
    if not make and (path := file_of(url)) is not None and not path.exists():
        raise UserError(
            f"cannot open study storage {url}: {path.absolute()} does not exist; check that the "
            "path is right, from the folder that the search was started in, and its disk mounted"
        )
    try:
        return RDBStorage(url, one_connection_a_question(), skip_table_creation=not make)
    except Exception as error:  # SQLAlchemy and SQLite have their own types
        remedy = (
            "check that the folder exists and the file may be written"
            if make
            else "check that it is the file that the search was given"
        )
        raise UserError(f"cannot open study storage {url}: {reason_of(error)}; {remedy}") from None


def one_connection_a_question() -> dict[str, Any]:
    """Returns what leaves no connection open behind a search, or lost while it trains."""
    from sqlalchemy.pool import NullPool  # as slow to import as all else of a study

    return {"poolclass": NullPool}


def file_of(url: str) -> Path | None:
    """Returns the file that an address of SQLite names, if it names one.

    >>> file_of("sqlite:///runs/studies.db?timeout=9")
    PosixPath('runs/studies.db')
    >>> file_of("sqlite:///file:/data/studies.db?uri=true")
    PosixPath('/data/studies.db')
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        name = make_url(url).database
    except ArgumentError:  # opening it says what is wrong
        return None
    return Path(name.removeprefix("file:")) if name and name != ":memory:" else None


def open_database(url: str, limit_s: float) -> BaseStorage:
    from sqlalchemy.exc import NoSuchModuleError

    start = monotonic()
    is_given = "connect_timeout" in url or not url.startswith("postgresql")
    arguments = {} if is_given else {"connect_timeout": CONNECT_S}
    try:
        database = RDBStorage(url, one_connection_a_question() | {"connect_args": arguments})
        return RetryingStorage(get_storage(database), without_passwords(url), limit_s=limit_s)
    except (ImportError, NoSuchModuleError) as error:
        raise UserError(
            f"cannot open study storage {without_passwords(url)}: its driver is missing "
            f"({str(error.__cause__ or error).splitlines()[0]}); check that the address reads "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, and pip install '.[postgres]'"
        ) from None
    except Exception as error:  # SQLAlchemy and each driver have their own types
        raise UserError(
            f"cannot open study storage {without_passwords(url)}: {reason_of(error)} (tried for "
            f"{monotonic() - start:.1f} s); {what_to_check(reason_of(error))}"
        ) from None


def what_to_check(reason: str) -> str:
    if "password" in reason or "authentication" in reason:
        return (
            "check that the user and password are right; the password may stand in the address, "
            "in PGPASSWORD or in ~/.pgpass"
        )
    return "check that the database runs, and that host, port and database name are right"
