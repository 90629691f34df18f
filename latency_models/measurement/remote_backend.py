"""Networks on a device elsewhere: compiled and linked here, uploaded, run and timed there."""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from latency_models.boards.board import board_block
from latency_models.boards.library_file import parse_metadata
from latency_models.boards.remote import RemoteBoard, RemoteLink
from latency_models.boards.timing import Block
from latency_models.compiler.library import CompiledModel, compile_model, tile_choice
from latency_models.devices.device import Device, cpu_of
from latency_models.devices.folders import replacing
from latency_models.measurement.kernel_times import kernel_blocks, kernel_times
from latency_models.measurement.reference import Reference, kept_at
from latency_models.measurement.tvm_backend import check_width
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model
from search_spaces.graphs.operators import Conv2d

# The reference kernel: half a millisecond on a server's core, ten on a small board's.
REFERENCE = (64, 28, 28)  # C, H, W of a 3 x 3 convolution


class RemoteRunner:
    """The ``.so`` of a network; it is uploaded for each request, as each has its own session."""

    def __init__(self, library: bytes, assembly: str, backend: "RemoteBackend") -> None:
        self._library = library
        self._assembly = assembly
        self._backend = backend

    def run(self, x: Array) -> Array:
        board = self._backend.board
        machine = open_machine(board, self._library)
        outputs = []
        for image in x:
            machine.set_input("main", board.tensor(image[None]))
            machine.invoke_stateful("main")
            outputs.append(machine.get_outputs("main").numpy()[0])
        return np.stack(outputs)

    def block(self, x: Array) -> Block:
        return network_block(self._backend.board, self._library, x)

    def check_code(self) -> None:
        check_width(self._backend.cpu, self._assembly)

    def save(self, path: Path) -> None:
        with replacing(path) as part:
            part.write_bytes(self._library)


class RemoteBackend:
    """TVM compiling for a device elsewhere.

    Args:
        tuned: Refused: tiles are timed on this machine.
    """

    def __init__(self, device: Device, *, tuned: bool) -> None:
        if tuned:
            raise UserError(
                f"device {device.name}: tiles are tuned by timing them on this machine, and the "
                "device is elsewhere; measure it without tuning"
            )
        self.cpu = cpu_of(device)
        self.link = RemoteLink(device)
        self.version: str = tvm.__version__
        self.target = self.cpu.mcpu
        self.instruction_sets = self.cpu.features
        self._device = device

    @property
    def board(self) -> RemoteBoard:
        """The board of the session that is open."""
        return self.link.board

    @property
    def reference(self) -> Reference:
        shape = (1, *REFERENCE)
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        name, where = self._device.name, self._device.where
        path = kept_at(name, where, self.target, self.version, REFERENCE)
        return Reference(network_block(self.board, self._reference_library, x), path)

    @cached_property
    def _reference_library(self) -> bytes:
        net = GraphBuilder(REFERENCE)
        net.add("convolution", Conv2d(REFERENCE[0], (3, 3)), net.input)
        model = random_model(net.graph(), np.random.default_rng(0))
        return compile_model(model, self.cpu).library_bytes()

    def compile(self, model: Model) -> RemoteRunner:
        compiled: CompiledModel = compile_model(model, self.cpu)
        return RemoteRunner(compiled.library_bytes(), compiled.assembly(), self)

    def load(self, path: Path) -> RemoteRunner:
        library = path.read_bytes()
        metadata = parse_metadata(path, str(open_machine(self.board, library)["metadata"]()))
        self.board.check_runs(metadata.cpu)
        return RemoteRunner(library, "", self)

    def kernels_ms(
        self, model: Model, nodes: Collection[str] | None
    ) -> list[tuple[str, float, str]]:
        choose = tile_choice(self.cpu, tuned=False)
        return kernel_times(model, self.cpu, self.board, choose, nodes)

    def kernel_blocks(self, graph: Graph, indices: Sequence[int]) -> list[Block]:
        model = random_model(graph, np.random.default_rng(0))
        choose = tile_choice(self.cpu, tuned=False)
        return kernel_blocks(model, self.cpu, self.board, indices, choose)


def open_machine(board: RemoteBoard, library: bytes) -> Any:  # noqa: ANN401  tvm is untyped
    return relax.VirtualMachine(board.load_file(library), board.device)


def network_block(board: RemoteBoard, library: bytes, x: Array) -> Block:
    machine = open_machine(board, library)
    # Its output stays there: sending it is no part of the network's time.
    machine.save_function("main", "timed", board.tensor(x), include_return=False)
    return board_block(board, machine, "timed", ())
