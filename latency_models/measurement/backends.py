"""Runners: a model made ready to run by one runtime, the same way for all of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

import numpy as np

from latency_models.boards.timing import Block, block_of
from latency_models.devices.device import Device, Runtime, cpu_of
from latency_models.devices.folders import replacing
from latency_models.devices.host import host_instruction_sets
from latency_models.measurement.reference import Reference, local_reference
from latency_models.onnx.kernels import onnx_kernels
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session, run_session
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class Runner(Protocol):
    """A loaded model. Inputs are (batch, C, H, W), outputs (batch, classes), float32."""

    def run(self, x: Array) -> Array: ...

    def block(self, x: Array) -> Block:
        """Returns the block that runs on ``x``, copies nothing, and waits until it is done."""
        ...

    def check_code(self) -> None:
        """Raises UserError if the code uses narrower vectors than the device's CPU has."""
        ...

    def save(self, path: Path) -> None: ...


class OnnxRunner:
    """A model in ONNX Runtime."""

    def __init__(self, session: "InferenceSession", data: bytes) -> None:
        self._session = session
        self._data = data

    def run(self, x: Array) -> Array:
        return run_session(self._session, x)

    def block(self, x: Array) -> Block:
        return block_of(bound_call(self._session, x))

    def check_code(self) -> None:
        """Its kernels are compiled beforehand for every CPU; it picks at run time."""

    def save(self, path: Path) -> None:
        with replacing(path) as part:
            part.write_bytes(self._data)


class Link(Protocol):
    """The connection to a device elsewhere; a request that needs the device opens it first."""

    def connect(self, limit_s: float) -> str:
        """Opens a session for a request that takes at most so long; returns the CPU, in words."""
        ...

    def disconnect(self) -> None: ...

    def explain(self, error: Exception) -> Exception:
        """Returns what ``error`` means, which may be that the device is lost."""
        ...


class Backend(Protocol):
    """One runtime on one device."""

    @property
    def link(self) -> Link | None:
        """The connection to the device; None where it is this machine."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def target(self) -> str:
        """The CPU that code is made for; "" where the runtime chooses by itself."""
        ...

    @property
    def instruction_sets(self) -> frozenset[str]:
        """What its code may use, by LLVM's names."""
        ...

    @property
    def reference(self) -> Reference:
        """The reference kernel on the device."""
        ...

    def compile(self, model: Model) -> Runner: ...

    def load(self, path: Path) -> Runner: ...

    def kernels_ms(
        self, model: Model, nodes: Collection[str] | None
    ) -> list[tuple[str, float, str]]:
        """Returns each kernel's node, milliseconds and instruction (see ``KernelLatency``).

        Args:
            nodes: Only the kernels of these nodes are timed; None takes all.
        """
        ...

    def kernel_blocks(self, graph: Graph, indices: Sequence[int]) -> list[Block]:
        """Returns a block for each of these kernels, counted as `network_kernels` does.

        Each block gives one time, the median over its length.
        """
        ...


class OnnxBackend:
    """ONNX Runtime."""

    target = ""
    link = None

    def __init__(self, device: Device) -> None:
        import onnxruntime

        self.version: str = onnxruntime.__version__
        self._threads = device.threads
        self.instruction_sets = host_instruction_sets()

    @cached_property
    def reference(self) -> Reference:
        return local_reference(self._threads)

    def compile(self, model: Model) -> Runner:
        return self._open(onnx_model(model).SerializeToString())

    def load(self, path: Path) -> Runner:
        return self._open(path.read_bytes())

    def kernels_ms(
        self, model: Model, nodes: Collection[str] | None
    ) -> list[tuple[str, float, str]]:
        raise UnsupportedOperatorError(
            "ONNX Runtime fuses as it likes and tells no times per kernel of the graph; use "
            "runtime 'tvm'"
        )

    def kernel_blocks(self, graph: Graph, indices: Sequence[int]) -> list[Block]:
        every = onnx_kernels(graph)
        return [self._block(every[index][1].graph) for index in indices]

    def _block(self, graph: Graph) -> Block:
        model = random_model(graph, np.random.default_rng(0))
        block = self.compile(model).block(random_input(graph.input_shape))
        return lambda duration_ns: [median(block(duration_ns))]

    def _open(self, data: bytes) -> Runner:
        return OnnxRunner(open_session(data, threads=self._threads), data)


OpenBackend = Callable[[Device, bool], Backend]  # the second is whether tiles are tuned


def open_onnxruntime(device: Device, tuned: bool) -> Backend:
    return OnnxBackend(device)


def open_tvm(device: Device, tuned: bool) -> Backend:
    cpu = cpu_of(device)
    from latency_models.measurement.tvm_backend import TvmBackend

    return TvmBackend(cpu, tuned=tuned)


def open_tvm_elsewhere(device: Device, tuned: bool) -> Backend:
    from latency_models.measurement.remote_backend import RemoteBackend

    return RemoteBackend(device, tuned=tuned)


# A runtime is a row, and is then tested as the others are; TVM takes seconds to import.
HERE: Mapping[Runtime, OpenBackend] = {"tvm": open_tvm, "onnxruntime": open_onnxruntime}
ELSEWHERE: Mapping[Runtime, OpenBackend] = {"tvm": open_tvm_elsewhere}


def open_backend(runtime: Runtime, device: Device, *, tuned: bool = False) -> Backend:
    """Returns ``runtime`` on ``device``.

    Args:
        tuned: Whether TVM's tiles are chosen by timing them; ONNX Runtime has none.

    Raises:
        UserError: If the device's CPU is unknown, or is not this machine's where it should be.
    """
    if not device.is_remote:
        return HERE[runtime](device, tuned)
    if runtime not in ELSEWHERE:
        raise UserError(
            f"device {device.name} is elsewhere and runs networks with {', '.join(ELSEWHERE)}, "
            f"got {runtime!r}; measure {runtime} on the device itself"
        )
    return ELSEWHERE[runtime](device, tuned)


def random_input(shape: tuple[int, int, int]) -> Array:
    """Returns one image of ordinary numbers, always the same."""
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
