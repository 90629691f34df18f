"""Head watch: notices that a cluster's head is gone, which no trial of it survives.

Ray's own client waits for a minute and then ends the whole process. What is finished is in the
study and the run folder, so the search ends by itself before that, in one line.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from search_spaces.graphs.errors import UserError

if TYPE_CHECKING:
    from nas.evaluation.ray.tune import Jobs

LOOK_EVERY_S = 2.0
MISSES = 5  # in a row, after which the head counts as gone


class ClusterLostError(UserError):
    """The cluster is gone while a search was using it."""


class StoppedError(Exception):
    """The search ends; nobody waits for this answer any more."""


class Ending:
    """Whether a search ends at once, and why."""

    def __init__(self) -> None:
        self._event = Event()
        self._why: Exception = StoppedError("the search has ended")

    def end(self, why: Exception | None = None) -> None:
        if why is not None and not self._event.is_set():
            self._why = why
        self._event.set()

    def check(self) -> None:
        """Raises:
        ClusterLostError: If the cluster is gone.
        StoppedError: If the search has ended otherwise.
        """
        if self._event.is_set():
            raise self._why

    def wait(self, limit_s: float) -> None:
        """Waits for so long, or until the end, which raises as `check` does."""
        self._event.wait(limit_s)
        self.check()


@contextmanager
def watching_head(address: str, jobs: "Jobs", ending: Ending) -> Iterator[None]:
    """Ends everything with `ClusterLostError` once the head is gone.

    Args:
        address: Host and port of the head.
    """
    over = Event()

    def watch() -> None:
        missed = 0
        while not over.wait(LOOK_EVERY_S):
            missed = 0 if answers(address) else missed + 1
            if missed == MISSES:
                error = lost(address)
                ending.end(error)
                jobs.close(error)
                return

    Thread(target=watch, name="head watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def lost(address: str) -> ClusterLostError:
    return ClusterLostError(
        f"the head of the cluster at {address} does not answer for {MISSES * LOOK_EVERY_S:g} s; "
        "everything finished so far is kept; start the cluster again and go on with --resume"
    )


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=LOOK_EVERY_S):
            return True
    except OSError:
        return False
