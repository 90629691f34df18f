"""Measuring: the latency of a network on a device, timed in a worker process."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from latency_models.boards.timing import HURRIED_S, TimingPlan
from latency_models.devices.cpu import VectorUnit, vector_unit_of
from latency_models.devices.device import Device, Runtime
from latency_models.devices.latency import Conditions, Latency, summarise
from latency_models.devices.lock import device_lock
from latency_models.measurement.messages import Message
from latency_models.measurement.process import WorkerProcess
from search_spaces.graphs.cost import precision_of
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, fold_batch_norm, random_model
from search_spaces.space.architecture import graph_hash, to_json
from search_spaces.space.space import Architecture


@dataclass(frozen=True, slots=True)
class KernelLatency:
    """Median milliseconds of one fused kernel, by the name of its node.

    Attributes:
        instruction: What does the work, for example vpdpbusd; "" where nothing stands out or the
            runtime does not tell.
    """

    name: str
    median_ms: float
    instruction: str = ""


class Measurer:
    """Measures networks on one device; a context manager, as it keeps a worker process.

    Args:
        runtime: "tvm" or "onnxruntime"; None is the device's own.
        plan: How long to time, and what disturbance to put up with; None is the usual plan with
            the device's ``max_drift``.
        tuned: Whether TVM's tiles are chosen by timing them (kept on disk), or by counting.
        time_limit_s: What compiling one network, or timing it, may take.
        memory_bytes: What the worker may allocate; None is all that the machine has.
    """

    def __init__(
        self,
        device: Device,
        runtime: Runtime | None = None,
        *,
        plan: TimingPlan | None = None,
        tuned: bool = False,
        time_limit_s: float = 120.0,
        memory_bytes: int | None = None,
    ) -> None:
        self.device = device
        self.runtime: Runtime = runtime or device.runtime
        self.plan = plan or TimingPlan(max_drift=device.max_drift)
        self.time_limit_s = time_limit_s
        self.is_hurried = False
        self.worker = WorkerProcess(device, self.runtime, tuned=tuned, memory_bytes=memory_bytes)
        self._known: dict[str, Latency] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker process."""
        self.worker.close()

    @property
    def device_name(self) -> str:
        return self.device.name

    def hurry(self) -> None:
        """Waits for no quiet machine any more; another thread may be measuring.

        Where the machine is busy, `latency` raises its `DeviceBusyError` within seconds.
        """
        self.is_hurried = True
        # For workers that are still to start; the one that is at work is told.
        self.plan = replace(self.plan, patience_s=min(self.plan.patience_s, HURRIED_S))
        self.worker.hurry()

    def latency(self, network: Graph | Model) -> Latency:
        """Returns the measured latency of one image.

        A graph gets random weights, and graphs that compute the same are measured once.

        Raises:
            UnsupportedOperatorError: If the runtime has no kernel for an operator.
            MeasurementError: If the network crashed the worker, did not fit in memory, took too
                long, or the machine was too busy.
        """
        if isinstance(network, Model):
            return self._measure(network)
        key = graph_hash(network)
        if key not in self._known:
            self._known[key] = self._measure(with_weights(network))
        return self._known[key]

    def kernel_latencies(
        self, network: Graph | Model, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]:
        """Returns the time of each kernel, in the order in which they run.

        Args:
            nodes: Only the kernels of these nodes are compiled and timed; None takes all.

        Raises: as `latency`.
        """
        model = fold_batch_norm(with_weights(network))
        graph = to_json(Architecture("", (), model.graph))["graph"]
        wanted = None if nodes is None else sorted(nodes)
        request = Message({"do": "kernels", "graph": graph, "nodes": wanted}, model.arrays)
        with device_lock(self.device.machine):
            answer = self.worker.ask(request, limit_s=self.time_limit_s)
        return tuple(KernelLatency(*row) for row in answer.data["kernels_ms"])

    def kernel_readings(
        self, graph: Graph, indices: Sequence[int], plan: TimingPlan
    ) -> tuple[Latency, ...]:
        """Returns readings of chosen kernels of ``graph``, each alone on the memory it has there.

        Args:
            indices: Places in `network_kernels` of the graph.
            plan: How long to time each.

        Raises: as `latency`; which kernel was at fault is not known.
        """
        data = to_json(Architecture("", (), graph))["graph"]
        request = {"do": "time kernels", "graph": data, "indices": list(indices)}
        extra_s = plan.patience_s * len(indices)
        with device_lock(self.device.machine):
            answer = self._ask({**request, "plan": asdict(plan)}, extra_s=extra_s)
        rows = answer.data["readings"]
        return tuple(summarise(row[0], self._conditions(graph, *row)) for row in rows)

    @property
    def vector_unit(self) -> VectorUnit:
        """What code on the device is cut to.

        Raises:
            UserError: If the device cannot be used.
        """
        self.worker.start()
        return vector_unit_of(frozenset(self.worker.instruction_sets))

    def logits(self, network: Model | Path, x: Array) -> Array:
        """Returns what the runtime computes for ``x``, (batch, C, H, W), from a model or a file.

        Raises: as `latency`; UserError if the file cannot be loaded.
        """
        if isinstance(network, Path):
            self._load(network, x.shape[1:])
        else:
            self._compile(network)
        with self._session():
            answer = self.worker.ask(Message({"do": "run"}, {"x": x}), limit_s=self.time_limit_s)
        return answer.arrays["logits"]

    def check_code(self, model: Model) -> None:
        """Compiles ``model`` and looks whether its code is as wide as the device's CPU allows.

        Raises: as `latency`; UserError if it is not.
        """
        self._compile(model)
        self._ask({"do": "check code"})

    def export(self, model: Model, path: Path) -> None:
        """Compiles ``model`` and writes it as the runtime's file: ``.so`` or ``.onnx``.

        Raises: as `latency`; UserError if the file cannot be written.
        """
        self._compile(model)
        self._ask({"do": "save", "path": str(path.resolve())})

    def file_latency(self, path: Path, graph: Graph) -> Latency:
        """Returns the measured latency of one image in a file that ``export`` wrote.

        Args:
            graph: What the file computes.

        Raises: as `latency`; UserError if the file cannot be loaded.
        """
        self._load(path, graph.input_shape)
        return self._time(graph)

    def _load(self, path: Path, shape: tuple[int, ...]) -> None:
        with self._session():
            self._ask({"do": "load", "path": str(path.resolve()), "shape": shape})

    def _session(self) -> AbstractContextManager[None]:
        """A turn on a device elsewhere, which serves one at a time; here many may run at once."""
        return device_lock(self.device.machine) if self.device.is_remote else nullcontext()

    def _measure(self, model: Model) -> Latency:
        self._compile(model)
        return self._time(model.graph)

    def _time(self, graph: Graph) -> Latency:
        # Waiting for the lock costs no candidate its time limit, and timing has its patience.
        with device_lock(self.device.machine):
            answer = self._ask(
                {"do": "time", "plan": asdict(self.plan)}, extra_s=self.plan.patience_s
            )
        data = answer.data
        conditions = self._conditions(graph, data["runs_ms"], data["reference_ms"], data["drift"])
        return summarise(data["runs_ms"], conditions)

    def _conditions(
        self, graph: Graph, runs_ms: Sequence[float], reference_ms: float, drift: float
    ) -> Conditions:
        return Conditions(
            device=self.device.name,
            cpu=self.worker.cpu,
            runtime=self.runtime,
            runtime_version=self.worker.version,
            target=self.worker.target,
            tuned=self.worker.tuned,
            threads=self.device.threads,
            input_shape=(1, *graph.input_shape),
            precision=precisions(graph),
            runs=len(runs_ms),
            cache="warm",
            reference_ms=reference_ms,
            drift=drift,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _compile(self, model: Model) -> None:
        model = fold_batch_norm(model)
        graph = to_json(Architecture("", (), model.graph))["graph"]
        request = Message({"do": "compile", "graph": graph}, model.arrays)
        self.worker.ask(request, limit_s=self.time_limit_s)

    def _ask(self, data: dict[str, object], extra_s: float = 0.0) -> Message:
        return self.worker.ask(Message(data), limit_s=self.time_limit_s + extra_s)


def with_weights(network: Graph | Model) -> Model:
    """Returns ``network``, with random weights (always the same) where it has none."""
    if isinstance(network, Model):
        return network
    return random_model(network, np.random.default_rng(0))


def precisions(graph: Graph) -> str:
    """Returns the number formats of the nodes that have weights, joined by "+"."""
    found = {
        precision_of(node.operator).name
        for node in graph.nodes
        if "weight" in node.operator.array_shapes(*graph.input_shapes(node))
    }
    return "+".join(sorted(found)) or "fp32"
