"""Lock: who may work in a folder; the system frees it when a process ends.

One file where a single process works, and two in the folder of a search, so that nobody slips in
while a driver goes from being alone to sharing:

    starting.lock   held alone by the driver that starts, while it puts right what a kill left
    run.lock        held together by all drivers that search in the folder
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from nas.runs.folder import RunFolder
from search_spaces.graphs.errors import UserError

RUN_LOCK = "run.lock"
STARTING_S = 120.0  # how long a driver that joins waits for another one to have started
GLANCE_S = 0.5  # who only looks whether a run is locked holds the lock for an instant


@dataclass(slots=True)
class RunLock:
    """A run's lock, as long as it is held.

    Attributes:
        is_alone: Whether no other process searches in the folder; it ends with `share`.
    """

    is_alone: bool
    _run_lock: IO[str]
    _starting_lock: IO[str]

    def share(self) -> None:
        """Lets others join."""
        if self.is_alone:
            fcntl.flock(self._run_lock, fcntl.LOCK_SH)
        self.is_alone = False
        fcntl.flock(self._starting_lock, fcntl.LOCK_UN)


@contextmanager
def lock_run(run: RunFolder, *, join: bool = False) -> Iterator[RunLock]:
    """Keeps other searches out of the run until it is shared, and those that do not join for good.

    Args:
        join: Take part in the search of another process, if there is one.

    Raises:
        UserError: If another process searches in this folder, and this one is not to join.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        starting = files.enter_context((run.path / "starting.lock").open("a+"))
        running = files.enter_context((run.path / RUN_LOCK).open("a+"))
        wait_s = STARTING_S if join else GLANCE_S
        if not taken(starting, fcntl.LOCK_EX, wait_s):
            raise UserError(refusal(run, running, join))
        is_alone = taken(running, fcntl.LOCK_EX, GLANCE_S)
        if is_alone:
            running.truncate(0)
        elif not join or not taken(running, fcntl.LOCK_SH, GLANCE_S):
            raise UserError(refusal(run, running, join))
        running.write(f"{os.getpid()} ")
        running.flush()
        yield RunLock(is_alone, running, starting)


@contextmanager
def lock_folder(folder: Path, remedy: str) -> Iterator[None]:
    """Keeps other processes out of a folder in which one works at a time.

    Args:
        remedy: What to do where another one does, in words.

    Raises:
        UserError: If another one works here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / RUN_LOCK).open("a+") as file:
        if not taken(file, fcntl.LOCK_EX, GLANCE_S):
            raise UserError(f"{folder} is being worked on by {holders(file)}; {remedy}")
        file.truncate(0)
        file.write(f"{os.getpid()} ")
        file.flush()
        yield


def holders(file: IO[str]) -> str:
    """Returns who holds a lock, in words."""
    file.seek(0)
    pids = file.read().split() or ["unknown"]
    return f"process {pids[0]}" if len(pids) == 1 else f"processes {', '.join(pids)}"


def taken(file: IO[str], how: int, wait_s: float) -> bool:
    """Whether a lock could be had within so many seconds."""
    deadline = monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                return False
            sleep(0.05)
        else:
            return True


def refusal(run: RunFolder, running: IO[str], join: bool) -> str:
    who = holders(running)
    if join:
        return (
            f"{run.path} is being started by {who} for more than {STARTING_S:g} s; stop it, or "
            "wait for it and join it then"
        )
    return (
        f"{run.path} is being searched by {who}; wait for it, stop it, join it with --join, or "
        "choose another name with --set name=NAME"
    )


def is_locked(run: RunFolder) -> bool:
    """Whether some process searches in this run right now."""
    try:
        with (run.path / RUN_LOCK).open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
