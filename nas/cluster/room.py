"""Room: how many trainings a cluster has room for, as its nodes come and go."""

from collections.abc import Mapping
from time import monotonic

import ray

from nas.config import RunConfig

COUNT_EVERY_S = 2.0  # how old a count may be


class Room:
    """Counts what trainings, of the size that the configuration says, fit.

    Args:
        most: At once; None for no bound.
        ahead: Share of candidates beyond these that may be under way.
    """

    def __init__(self, config: RunConfig, most: int | None, ahead: float) -> None:
        self.cpus = config.search.cpus
        self.gpus = config.search.gpus
        self.most = most
        self.ahead = ahead
        self._counted = (-COUNT_EVERY_S, 1)

    def slots(self) -> int:
        when, trainings = self._counted
        if monotonic() - when >= COUNT_EVERY_S:
            trainings = max(1, self.trainings())
            self._counted = (monotonic(), trainings)
        return trainings + max(1, round(self.ahead * trainings))

    def trainings(self) -> int:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fit = sum(fitting(node, self.cpus, self.gpus) for node in nodes)
        return fit if self.most is None else min(fit, self.most)


def fitting(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Returns how many trainings a node has room for.

    >>> fitting({"CPU": 4.0, "GPU": 1.0}, 1.0, 0.5)
    2
    """
    counts = [resources.get("CPU", 0.0) / cpus]
    if gpus:
        counts.append(resources.get("GPU", 0.0) / gpus)
    return int(min(counts) + 1e-9)


