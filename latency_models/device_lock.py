"""One measurement at a time: a lock between processes on everything that is this machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from latency_models.folders import cache_folder


@contextmanager
def device_lock(name: str = "host") -> Iterator[None]:
    """Waits until nobody else measures, and holds the machine until the end of the block.

    The system lets go of the lock when its holder dies, however it dies. All devices that are
    this machine share one name: two of them would disturb each other.
    """
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
