"""Monitor: how many trainings a cluster has room for, and what it does, as nodes come and go."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import ray

from nas.evaluation.ray.device_client import RemoteMeasurer
from nas.evaluation.ray.remote_calls import ask
from nas.evaluation.ray.tune import Jobs
from nas.problem.records import RunConfig
from nas.runs.activity import ActivityLog, DeviceState

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


LOOK_EVERY_S = 2.0


class Reporter:
    """Tells an activity log which candidate is measured, waits or is trained, and where.

    Args:
        address: Of the cluster's head.
        keeper: The actor that knows on which node a candidate is trained.
        measures: Whether the search uses the device.
    """

    def __init__(
        self,
        address: str,
        room: Room,
        jobs: Jobs,
        measurer: RemoteMeasurer,
        keeper: Any,  # noqa: ANN401
        *,
        measures: bool,
    ) -> None:
        self.address = address
        self.room = room
        self.jobs = jobs
        self.measurer = measurer
        self.keeper = keeper
        self.measures = measures
        self.activity: ActivityLog | None = None

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Reports in a thread: a head that is gone lets who asks it wait for long."""
        over = Event()

        def report_on() -> None:
            while not over.wait(LOOK_EVERY_S):
                try:
                    self.room.count()
                    self.report()
                except Exception as error:
                    # The head watch, and who waits for an answer, notice as well.
                    log.debug("the cluster could not be looked at: %s", error)

        thread = Thread(target=report_on, name="reporting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(LOOK_EVERY_S)

    def report(self) -> None:
        activity = self.activity
        if activity is None:
            return
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        room = "" if self.room.trainings else ", no room for a training"
        activity.set_place(f"Ray cluster {self.address}, {len(nodes)} nodes{room}")
        activity.set_slots(self.room.slots)
        waiting, training = self.jobs.keys()
        places: dict[str, str] = ask(self.keeper.nodes, list(training)) if training else {}
        for key in self.measurer.asking():
            activity.phase(key, "latency", self.measurer.device_name)
        for key in waiting:
            activity.phase(key, "waiting")
        for key in training:
            activity.phase(key, "training", self.label(nodes.get(places.get(key, ""))))
        if self.measures:
            activity.set_devices([self.device(nodes)])

    def device(self, nodes: dict[str, Any]) -> DeviceState:
        measurer = self.measurer
        health = measurer.health()
        if health is None:
            state = "dead" if measurer.was_asked else "idle"
            return DeviceState(measurer.device_name, "", state, measurer.waiting, 0, 0)
        return DeviceState(
            name=measurer.device_name,
            where=self.label(nodes.get(health.node)),
            state="idle" if health.busy_s is None else "measuring",
            queue=max(0, measurer.waiting - (health.busy_s is not None)),
            measured=health.measured,
            failures=health.failures,
        )

    def label(self, node: dict[str, Any] | None) -> str:
        return "" if node is None else f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
