"""Remote measurer: asks the actor that holds a device, and looks after it while it waits.

An actor that dies or hangs is started anew and asked again; a network on which it dies every time
is the network's own fault.
"""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError

from latency_models.devices.device import Device, get_device
from latency_models.devices.latency import Latency, MeasurementError
from latency_models.devices.latency import from_json as latency_from_json
from latency_models.measurement.measurer import KernelLatency
from nas.evaluation.instruments import Instruments
from nas.evaluation.ray.device_actor import device_resource, open_device_actor
from nas.evaluation.ray.head_watch import Ending
from nas.evaluation.ray.remote_calls import Outcome, value_of
from nas.problem.records import RunConfig
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash, to_json
from search_spaces.space.space import Architecture

TRIES = 3  # as often may the actor die on one network
LOOK_EVERY_S = 5.0  # at the actor's health, while its answer is awaited
PAUSE_S = 1.0  # between two tries
AWAY_S = 180.0  # for so long the actor may be away: it is started, or its node is found to be dead
SILENCE_S = 120.0  # after so long without a sign of health the actor is replaced
LEAST_S = 30.0  # that a measurement may take, however short its time limit
SLACK = 5.0  # how many time limits a measurement may take (compiling, timing, waiting for a turn)

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What the actor says of itself.

    Attributes:
        busy_s: Seconds of the measurement under way; None where there is none.
        at: Hash of the network that is measured; "" where none is.
    """

    busy_s: float | None
    at: str
    measured: int
    failures: int
    node: str


class RemoteMeasurer:
    """Measures on the device's actor; threads may ask at once, and wait in its queue.

    Args:
        node_id: The driver's node, where the device is unless other nodes offer it.
        ending: Where it says that the search ends at once.
    """

    def __init__(
        self, config: RunConfig, node_id: str, instruments: Instruments, ending: Ending
    ) -> None:
        self.config = config
        self.device: Device = get_device(config.latency.device, config.latency.max_drift)
        self.node_id = node_id
        self.instruments = instruments
        self.ending = ending
        self.cpu = ""
        self.is_hurried = False
        self._asking: Counter[str] = Counter()
        self._lock = Lock()
        self._actor: Any = None

    @property
    def device_name(self) -> str:
        return self.device.name

    def hurry(self) -> None:
        """Waits for a quiet machine no longer than the try under way.

        The actor may be measuring for another search, which is in no hurry.
        """
        self.is_hurried = True

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
            return self.asked(key, method, to_json(Architecture("", (), graph)), *given)
        finally:
            with self._lock:
                self._asking[key] -= 1

    def asked(self, key: str, method: str, *given: Any) -> Outcome:  # noqa: ANN401
        """Returns the answer, asked again where the actor died.

        A death counts against the network that the actor was seen at. Any other one is waited
        out: Ray takes some time to find that a node is dead, and to start the actor elsewhere.

        Raises:
            MeasurementError: "crashed" if it died on this network again and again, "unreachable"
                if it stays away.
        """
        deaths = 0
        away_since = None
        while True:
            actor = self.actor()
            watched = ActorWatch()
            try:
                return self.answer(
                    actor, getattr(actor, method).remote(self.config, *given), watched
                )
            except RayActorError as error:
                self.let_go(actor, error)
                if watched.at == key:
                    deaths, away_since = deaths + 1, None
                elif watched.seen or away_since is None:
                    away_since = monotonic()
                log.warning(
                    "the actor of %s died%s: %s",
                    self.device.name,
                    f" while it measured {key}" if watched.at == key else "",
                    one_line(error),
                )
            if deaths == TRIES:
                raise MeasurementError(
                    "crashed",
                    f"the actor of {self.device.name} died {TRIES} times while it measured this "
                    "network",
                )
            if away_since is not None and monotonic() - away_since > AWAY_S:
                raise self.unreachable()
            self.ending.wait(PAUSE_S)

    def answer(self, actor: Any, reference: Any, watched: "ActorWatch") -> Outcome:  # noqa: ANN401
        """Returns the actor's answer; one that hangs is killed, which raises `RayActorError`."""
        limit_s = SLACK * self.config.latency.time_limit_s + LEAST_S
        since = monotonic()
        while True:
            done, _ = ray.wait([reference], timeout=LOOK_EVERY_S if watched.at else 0.5)
            if done:
                outcome: Outcome = ray.get(reference)
                return outcome
            self.ending.check()
            try:
                health = DeviceHealth(**ray.get(health_of(actor), timeout=LOOK_EVERY_S))
            except GetTimeoutError:
                silent_s = monotonic() - since
                if not watched.seen and silent_s > AWAY_S:
                    raise self.unreachable() from None
                if watched.seen and silent_s > SILENCE_S:
                    self.replace(actor)
                continue
            since = monotonic()
            watched.see(health)
            if health.busy_s is not None and health.busy_s > limit_s:
                self.replace(actor)

    def replace(self, actor: Any) -> None:  # noqa: ANN401
        log.warning("the actor of %s hangs; starting it anew", self.device.name)
        ray.kill(actor, no_restart=False)

    def unreachable(self) -> MeasurementError:
        resource = device_resource(self.device)
        return MeasurementError(
            "unreachable",
            f"nothing in the cluster answers for device {self.device.name} for {AWAY_S:g} s; look "
            f"with 'ray status' whether a node that offers the resource {resource!r} is up, or "
            "whether the driver's node has memory left, and go on with --resume",
        )

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


class ActorWatch:
    """What was seen of an actor while its answer was awaited.

    Attributes:
        seen: Whether it has said anything.
        at: Hash of the network that it was measuring when last looked at; "" for none.
    """

    def __init__(self) -> None:
        self.seen = False
        self.at = ""

    def see(self, health: DeviceHealth) -> None:
        self.seen = True
        self.at = health.at


def health_of(actor: Any) -> Any:  # noqa: ANN401
    return actor.health.options(concurrency_group="health").remote()
