"""Supernet of a run: trained once before the first trial, by one driver for all in a folder."""

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep

from nas.evaluation.place import TrainSupernet
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting
from nas.runs.files import write_whole
from nas.runs.folder import RunFolder
from nas.training.checkpoints import FolderCheckpoints
from nas.training.state import DamagedStateError
from nas.training.supernet.state import from_bytes, read_bounded
from nas.training.supernet.training import SupernetPlan, SupernetReport
from search_spaces.graphs.errors import UserError

POLL_S = 0.2

log = logging.getLogger("nas.search")


def check_supernet(config: RunConfig, setting: Setting, run: RunFolder) -> tuple[str, ...]:
    """Returns what people are to know of the shared weights, a line each.

    Raises:
        UserError: If they are too many, or the run's are of another space, data or recipe.
    """
    if config.search.evaluation != "supernet":
        return ()
    plan = plan_of(config, setting)
    plan.check()
    if run.supernet_file.exists():
        read_trained(plan, run)
    return (plan.store.in_one_line(),)


def plan_of(config: RunConfig, setting: Setting) -> SupernetPlan:
    return SupernetPlan(setting.space, setting.tensors, config)


def read_trained(plan: SupernetPlan, run: RunFolder) -> None:
    """Makes sure that the run's supernet is whole, and of this search.

    Raises:
        UserError: If not.
    """
    file = run.supernet_file
    try:
        from_bytes(read_bounded(file, plan.store), plan.store, plan.belongs)
    except DamagedStateError as error:
        raise UserError(
            f"{file}: {error}; put the run's own back, or remove it and go on with --resume, "
            "which trains it anew"
        ) from None


def ensure_supernet(
    config: RunConfig,
    setting: Setting,
    run: RunFolder,
    train: TrainSupernet,
    on_epoch: Callable[[SupernetReport], None],
    stopping: Callable[[], bool],
) -> None:
    """Trains the run's supernet where it has none, while other drivers wait.

    Args:
        stopping: Whether to leave the rest for later; what was trained is kept.

    Raises: as `nas.training.supernet.training.train_supernet`.
    """
    if config.search.evaluation != "supernet":
        return
    plan = plan_of(config, setting)
    with supernet_lock(run, stopping) as mine:
        if not mine or stopping():
            return
        if run.supernet_file.exists():
            return read_trained(plan, run)

        def told(report: SupernetReport) -> None:
            found = report.found
            log.info("supernet epoch %d of %d: %s", report.epoch, report.epochs, found)
            on_epoch(report)

        content = train(plan, told, lambda: not stopping())
        if content is None:
            return
        write_whole(run.supernet_file, content)
        FolderCheckpoints(run.checkpoints).drop(plan.belongs.key)


@contextmanager
def supernet_lock(run: RunFolder, is_stopping: Callable[[], bool]) -> Iterator[bool]:
    """Holds a lock that other drivers of the run wait for; False where the search stops first."""
    with (run.path / "supernet.lock").open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if is_stopping():
                    yield False
                    return
                sleep(POLL_S)
            else:
                yield True
                return
