"""Reporting: what a cluster does for a search, looked up now and then for its activity file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import ray

from nas.activity import ActivityLog, DeviceState
from nas.cluster.patience import ask
from nas.cluster.remote_measurer import RemoteMeasurer
from nas.cluster.room import Room
from nas.cluster.tune_run import Jobs

LOOK_EVERY_S = 2.0

log = logging.getLogger("nas.search")


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
