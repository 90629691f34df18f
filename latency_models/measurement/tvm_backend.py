"""TVM as a runtime among others: compiled models behind the runner's interface."""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tvm

from latency_models.boards.board import LocalBoard
from latency_models.boards.timing import Block, block_of
from latency_models.compiler.library import (
    CompiledModel,
    compile_model,
    load_compiled,
    tile_choice,
)
from latency_models.compiler.lower import TileChoice
from latency_models.devices.cpu import Cpu
from latency_models.measurement.kernel_times import kernel_blocks, kernel_times
from latency_models.measurement.reference import Reference, local_reference
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model

# What an assembler calls the registers of a vector unit; the plainest unit has nothing to miss.
REGISTERS = {"avx512": "%zmm", "avx2": "%ymm", "neon": ".4s"}


class TvmRunner:
    """A compiled model."""

    def __init__(self, compiled: CompiledModel, backend: "TvmBackend") -> None:
        self._compiled = compiled
        self._backend = backend

    def run(self, x: Array) -> Array:
        return np.stack([self._compiled.run(image) for image in x])

    def block(self, x: Array) -> Block:
        return block_of(self._compiled.bound_call(x))

    def check_code(self) -> None:
        check_width(self._backend.cpu, self._compiled.assembly())

    def save(self, path: Path) -> None:
        self._compiled.save(path)


def check_width(cpu: Cpu, assembly: str) -> None:
    """Raises UserError if the code uses narrower vectors than the CPU has."""
    # TVM says only in its log that it compiles for something plainer than it was asked for.
    unit = cpu.vector_unit
    if unit.name in REGISTERS and REGISTERS[unit.name] not in assembly:
        raise UserError(
            f"code compiled for {cpu.mcpu!r} does not use its {unit.name} registers "
            f"({REGISTERS[unit.name]}); its latency would be another CPU's"
        )


class TvmBackend:
    """TVM compiling for one CPU.

    Args:
        tuned: Whether tiles are chosen by timing them (kept on disk), or by counting.
    """

    link = None

    def __init__(self, cpu: Cpu, *, tuned: bool) -> None:
        self.cpu = cpu
        self.tuned = tuned
        self.version: str = tvm.__version__
        self.target = cpu.mcpu
        self.instruction_sets = cpu.features

    @cached_property
    def reference(self) -> Reference:
        return local_reference(threads=1)

    def compile(self, model: Model) -> TvmRunner:
        return TvmRunner(compile_model(model, self.cpu, tuned=self.tuned), self)

    def load(self, path: Path) -> TvmRunner:
        return TvmRunner(load_compiled(path), self)

    def kernels_ms(
        self, model: Model, nodes: Collection[str] | None
    ) -> list[tuple[str, float, str]]:
        return kernel_times(model, self.cpu, LocalBoard(), self._choose_tile, nodes)

    def kernel_blocks(self, graph: Graph, indices: Sequence[int]) -> list[Block]:
        model = random_model(graph, np.random.default_rng(0))
        return kernel_blocks(model, self.cpu, LocalBoard(), indices, self._choose_tile)

    @cached_property
    def _choose_tile(self) -> TileChoice:
        return tile_choice(self.cpu, self.tuned)
