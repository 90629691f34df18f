"""One measurement at a time, and nothing heavy of ours beside it: locks between processes.

The system lets go of a lock when its holder dies, however it dies. All devices that are this
machine share one name: two of them would disturb each other.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from latency_models.devices.folders import cache_folder


@contextmanager
def device_lock(name: str = "host") -> Iterator[None]:
    """Waits until nobody else measures or works, and holds the machine until the block ends."""
    with opened(name, "turn") as turn, opened(name, "lock") as lock:
        fcntl.flock(turn, fcntl.LOCK_EX)  # first in line: workers see it and make way
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def making_way(name: str = "host") -> Iterator[Callable[[], None]]:
    """Holds the machine for heavy work that many may do at once, such as training.

    Yields a function to call every few milliseconds of that work: where a measurement waits, it
    lets the machine go until the measurement is over; else it takes microseconds.
    """
    with opened(name, "turn") as turn, opened(name, "lock") as lock:

        def make_way() -> None:
            try:
                fcntl.flock(turn, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_UN)
                fcntl.flock(turn, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_SH)
            fcntl.flock(turn, fcntl.LOCK_UN)

        make_way()
        yield make_way


def opened(name: str, part: str) -> IO[str]:
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{name}.{part}").open("w", encoding="utf-8")
