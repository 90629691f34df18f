"""Room: how many trainings a cluster has room for, as its nodes come and go."""

import logging
from collections.abc import Mapping

import ray

from nas.config import RunConfig

AHEAD = 0.25  # of the trainings that there is room for; more would ask the sampler too early

log = logging.getLogger("nas.search")


class Room:
    """The last count of the trainings, of the size that the configuration says, that fit.

    Counting asks the cluster's head, who may be gone, so it is left to a thread.

    Args:
        most: At once; None for no bound.
    """

    def __init__(self, config: RunConfig, most: int | None) -> None:
        self.cpus = config.search.cpus
        self.gpus = config.search.gpus
        self.most = most
        self.trainings = 1
        self.count()

    @property
    def slots(self) -> int:
        """How many candidates may be under way: some more, that are measured or wait meanwhile.

        Where none waits, a worker that ends has nothing to do until the next one was asked for.
        """
        trainings = max(1, self.trainings)
        return trainings + max(1, round(AHEAD * trainings))

    def count(self) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fit = sum(fitting(node, self.cpus, self.gpus) for node in nodes)
        if not fit and self.trainings:
            log.warning(
                "no node of the cluster has room for a training (%g CPUs, %g GPUs) any more; "
                "waiting for one",
                *(self.cpus, self.gpus),
            )
        self.trainings = fit if self.most is None else min(fit, self.most)


def fitting(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Returns how many trainings a node has room for.

    >>> fitting({"CPU": 4.0, "GPU": 1.0}, 1.0, 0.5)
    2
    """
    counts = [resources.get("CPU", 0.0) / cpus]
    if gpus:
        counts.append(resources.get("GPU", 0.0) / gpus)
    return int(min(counts) + 1e-9)
