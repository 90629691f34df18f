"""Device actor: holds one physical device for the whole cluster, so that one measurement at a
time runs on it, whoever asks.

Its queue is the actor's own. Compiling and timing happen in the measurer's worker process, with
its time limits; health is answered beside them, by a thread of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from time import monotonic
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from latency_models.devices.device import Device
from latency_models.devices.latency import to_json as latency_to_json
from nas.evaluation.instruments import Instruments
from nas.evaluation.latency import NetworkTimer
from nas.evaluation.ray.connection import NAMESPACE
from nas.evaluation.ray.remote_calls import Outcome, outcome_of
from nas.problem.records import LatencyConfig, RunConfig
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import from_json, graph_hash

OVERHEAD = 0.001  # of the resource `device:NAME`, which says where the device is, not how much


class DeviceActor:
    """Measures for every search of the cluster; the actor's class.

    Args:
        instruments: What opens the measurers.
    """

    def __init__(self, instruments: Instruments) -> None:
        self.instruments = instruments
        self.resources = ExitStack()
        self.measurers: dict[LatencyConfig, NetworkTimer] = {}
        self.began: float | None = None
        self.at = ""
        self.measured = 0
        self.failures = 0

    def latency(self, config: RunConfig, architecture: dict[str, Any]) -> Outcome:
        graph = from_json(architecture).graph

        def measure() -> dict[str, Any]:
            return latency_to_json(self.measurer(config).latency(graph))

        return self.work(graph, measure)

    def kernel_latencies(
        self, config: RunConfig, architecture: dict[str, Any], nodes: Sequence[str] | None
    ) -> Outcome:
        graph = from_json(architecture).graph

        def measure() -> list[dict[str, Any]]:
            found = self.measurer(config).kernel_latencies(graph, nodes)
            return [asdict(kernel) for kernel in found]

        return self.work(graph, measure)

    def work(self, graph: Graph, measure: Callable[[], Any]) -> Outcome:
        self.at, self.began = graph_hash(graph), monotonic()
        try:
            outcome = outcome_of(measure)
        finally:
            self.at, self.began = "", None
        self.measured += 1
        self.failures += "error" in outcome
        return outcome

    def measurer(self, config: RunConfig) -> NetworkTimer:
        """Returns the measurer of the run's settings for latency; each has a worker process."""
        if config.latency not in self.measurers:
            opened = self.instruments.measurer(config)
            self.measurers[config.latency] = self.resources.enter_context(opened)
        return self.measurers[config.latency]

    def health(self) -> dict[str, Any]:
        """Returns the fields of a `DeviceHealth`."""
        began = self.began
        return {
            "busy_s": None if began is None else monotonic() - began,
            "at": self.at,
            "measured": self.measured,
            "failures": self.failures,
            "node": ray.get_runtime_context().get_node_id(),
        }


def device_resource(device: Device) -> str:
    """Returns the resource by which a node offers a device: ``device:NAME``."""
    return f"device:{device.name}"


def open_device_actor(device: Device, node_id: str, instruments: Instruments) -> Any:  # noqa: ANN401
    """Returns the actor that holds ``device``, started where there is none.

    A device that is a machine lives on the nodes that offer the resource ``device:NAME`` (one
    holds it, the others are spares), or else on this node. Ray starts the actor anew when it
    dies; it ends with the driver that started it.
    """
    options: dict[str, Any] = {
        "name": f"device {device.machine}",
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,  # whether to measure again is the asker's to decide
    }
    resource = device_resource(device)
    if ray.cluster_resources().get(resource, 0) > 0:
        options["resources"] = {resource: OVERHEAD}
    else:
        options["name"] += f" of {node_id}" if not device.is_remote else ""
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
            node_id, soft=device.is_remote
        )
    actor = ray.remote(concurrency_groups={"health": 1})(DeviceActor)
    return actor.options(**options).remote(instruments)
