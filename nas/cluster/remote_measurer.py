"""Remote measurer: asks the actor that holds a device, and looks after it while it waits.

An actor that dies or hangs in the middle of a measurement is no network's fault: it is started
anew and asked again. A network on which it dies every time is.
"""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError

from latency_models.device import Device, get_device
from latency_models.latency import Latency, MeasurementError
from latency_models.latency import from_json as latency_from_json
from latency_models.measure import KernelLatency
from nas.cluster.device_actor import open_device_actor
from nas.cluster.outcomes import Outcome, value_of
from nas.config import RunConfig
from nas.instruments import Instruments
from search_spaces.architecture import graph_hash, to_json
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.space import Architecture

TRIES = 3  # as often may the actor die on one network
LOOK_EVERY_S = 5.0  # at the actor's health, while its answer is awaited
SILENCE_S = 30.0  # after so long without a sign of health the actor is replaced
SLACK = 5.0  # how many time limits a measurement may take (compiling, timing, waiting for a turn)

log = logging.getLogger("nas.search")


class StoppedError(Exception):
    """The search ends; nobody waits for this answer any more."""


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What the actor says of itself.

    Attributes:
        busy_s: Seconds of the measurement under way; None where there is none.
    """

    busy_s: float | None
    measured: int
    failures: int
    node: str


class RemoteMeasurer:
    """Measures on the device's actor; threads may ask at once, and wait in its queue.

    Args:
        node_id: The driver's node, where the device is unless other nodes offer it.
        stopping: Set where the search ends at once.
    """

    def __init__(
        self, config: RunConfig, node_id: str, instruments: Instruments, stopping: Event
    ) -> None:
        self.config = config
        self.device: Device = get_device(config.latency.device)
        self.node_id = node_id
        self.instruments = instruments
        self.stopping = stopping
        self.cpu = ""
        self._asking: Counter[str] = Counter()
        self._lock = Lock()
        self._actor: Any = None

    @property
    def device_name(self) -> str:
        return self.device.name

    def latency(self, graph: Graph) -> Latency:
        """Returns the latency as `Measurer.latency` does, and raises as it does.

        Raises:
            UserError: If a spare took over whose CPU is another one.
        """
        data = value_of(self.ask(graph, "latency"))
        latency = latency_from_json(data)
        self.check_cpu(latency)
        return latency

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]:
        """Returns the kernels' times as `Measurer.kernel_latencies` does."""
        wanted = None if nodes is None else sorted(nodes)
        rows = value_of(self.ask(network, "kernel_latencies", wanted))
        return tuple(KernelLatency(**row) for row in rows)

    def check_cpu(self, latency: Latency) -> None:
        conditions = latency.conditions
        if conditions is None:
            return
        self.cpu = self.cpu or conditions.cpu
        if conditions.cpu != self.cpu:
            raise UserError(
                f"device {self.device.name} must be one kind of CPU all through a search, got "
                f"{conditions.cpu!r} after {self.cpu!r}; offer the resource "
                f"'device:{self.device.name}' only on nodes that are alike"
            )

    def health(self) -> DeviceHealth | None:
        """Returns how the actor does; None where it is not there, or says nothing."""
        with self._lock:
            actor = self._actor
        if actor is None:
            return None
        try:
            return DeviceHealth(**ray.get(health_of(actor), timeout=LOOK_EVERY_S))
        except RayError:
            return None

    @property
    def was_asked(self) -> bool:
        """Whether there was a reason for an actor to be there."""
        return self._actor is not None

    @property
    def waiting(self) -> int:
        """How many questions wait for an answer, with the one that the actor is at."""
        with self._lock:
            return self._asking.total()

    def asking(self) -> tuple[str, ...]:
        """Returns the hashes of the networks that wait for an answer."""
        with self._lock:
            return tuple(+self._asking)

    def ask(self, graph: Graph, method: str, *given: Any) -> Outcome:  # noqa: ANN401
        key = graph_hash(graph)
        with self._lock:
            self._asking[key] += 1
        try:
            return self.asked(method, to_json(Architecture("", (), graph)), *given)
        finally:
            with self._lock:
                self._asking[key] -= 1

    def asked(self, method: str, *given: Any) -> Outcome:  # noqa: ANN401
        for attempt in range(1, TRIES + 1):
            actor = self.actor()
            try:
                return self.answer(actor, getattr(actor, method).remote(self.config, *given))
            except RayActorError as error:
                self.let_go(actor, error)
                log.warning(
                    "the actor of %s died while it measured (%d of %d tries): %s",
                    *(self.device.name, attempt, TRIES, first_line(error)),
                )
        raise MeasurementError(
            "crashed",
            f"the actor of {self.device.name} died {TRIES} times while it measured this network",
        )

    def answer(self, actor: Any, reference: Any) -> Outcome:  # noqa: ANN401
        """Returns the actor's answer; one that hangs is killed, which raises `RayActorError`."""
        limit_s = SLACK * self.config.latency.time_limit_s + SILENCE_S
        silent_s = 0.0
        while True:
            done, _ = ray.wait([reference], timeout=LOOK_EVERY_S)
            if done:
                outcome: Outcome = ray.get(reference)
                return outcome
            if self.stopping.is_set():
                raise StoppedError
            try:
                health = ray.get(health_of(actor), timeout=LOOK_EVERY_S)
                silent_s = 0.0
            except GetTimeoutError:
                silent_s += 2 * LOOK_EVERY_S
            else:
                if health["busy_s"] is None or health["busy_s"] <= limit_s:
                    continue
            if silent_s >= SILENCE_S or not silent_s:
                log.warning("the actor of %s hangs; starting it anew", self.device.name)
                ray.kill(actor, no_restart=False)

    def actor(self) -> Any:  # noqa: ANN401
        with self._lock:
            if self._actor is None:
                self._actor = open_device_actor(self.device, self.node_id, self.instruments)
            return self._actor

    def let_go(self, actor: Any, error: RayActorError) -> None:  # noqa: ANN401
        """Forgets an actor that Ray does not start anew (its driver has gone)."""
        with self._lock:
            if isinstance(error, ActorDiedError) and self._actor is actor:
                self._actor = None


def health_of(actor: Any) -> Any:  # noqa: ANN401
    return actor.health.options(concurrency_group="health").remote()


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
