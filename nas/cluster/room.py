"""Room: how many trainings a cluster has room for, as its nodes come and go."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread

import ray

from nas.config import RunConfig

COUNT_EVERY_S = 2.0


class Room:
    """The last count of the trainings, of the size that the configuration says, that fit.

    Args:
        most: At once; None for no bound.
        ahead: Share of candidates beyond these that may be under way.
    """

    def __init__(self, config: RunConfig, most: int | None, ahead: float) -> None:
        self.cpus = config.search.cpus
        self.gpus = config.search.gpus
        self.most = most
        self.ahead = ahead
        self.trainings = 1

    @property
    def slots(self) -> int:
        """How many candidates may be under way: one more at least, for the next one to train."""
        return self.trainings + max(1, round(self.ahead * self.trainings))

    def count(self) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fit = sum(fitting(node, self.cpus, self.gpus) for node in nodes)
        self.trainings = max(1, fit if self.most is None else min(fit, self.most))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts now and then, in a thread: a head that is gone lets who asks it wait for long."""
        over = Event()
        self.count()

        def count_on() -> None:
            while not over.wait(COUNT_EVERY_S):
                self.count()

        Thread(target=count_on, name="room", daemon=True).start()
        try:
            yield
        finally:
            over.set()


def fitting(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Returns how many trainings a node has room for.

    >>> fitting({"CPU": 4.0, "GPU": 1.0}, 1.0, 0.5)
    2
    """
    counts = [resources.get("CPU", 0.0) / cpus]
    if gpus:
        counts.append(resources.get("GPU", 0.0) / gpus)
    return int(min(counts) + 1e-9)
