"""Endings: what a full disk or a lost database makes of a search, and its log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError

from nas.problem.addresses import without_passwords
from nas.problem.records import RunConfig
from nas.runs.files import DiskFullError, is_full
from nas.runs.folder import RunFolder
from nas.study.retrying_storage import StorageLostError, reason_of
from search_spaces.graphs.errors import UserError

log = logging.getLogger("nas.search")


class RunLog(logging.FileHandler):
    """A log whose failures are the search's."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        raise


@contextmanager
def naming_lost_storage(config: RunConfig, run: RunFolder) -> Iterator[None]:
    """Turns a full disk and a lost database into errors that say how to go on."""
    try:
        yield
    except StorageInternalError as error:
        lost = isinstance(error, StorageLostError)
        reason = str(error) if lost else reason_of(error)
        raise UserError(
            f"the study's storage {without_passwords(config.search.storage or str(run.journal))} "
            f"failed ({reason}); what is finished is kept; put it right and go on with --resume"
        ) from error
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"the disk is full: cannot write to {run.path}; everything finished so far is "
                "kept; free some space and go on with --resume"
            ) from error
        raise


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Writes the search's log to a file of the run, each line with its time."""
    handler = RunLog(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
