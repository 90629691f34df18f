"""Lowering: a model as a list of kernel calls on planned memory."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.memory import Address, Lifetime, aligned, plan_memory
from latency_models.compiler.packing import Constants
from latency_models.compiler.placement import RESULT
from latency_models.compiler.plan import PlannedKernel, Tile, is_flat, plan_kernels
from latency_models.compiler.schedule import MapKey, Work
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.kernel import Kernel, TiledKernel
from latency_models.kernels.layout import PlanarCodesKernel
from latency_models.kernels.plain import PlainKernel
from latency_models.kernels.sparse.linear import SparseLinearKernel
from search_spaces.graphs.model import Model, fold_batch_norm
from search_spaces.graphs.operators import Linear, Shape

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
TileChoice = Callable[[TiledKernel[Any]], Tile]

SPARE = 256  # bytes after the workspace and the weights that a vector may read past their end


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One kernel call: what runs, for which node, on which memory."""

    kernel: Kernel
    tile: Tile
    node: str
    arguments: tuple[Address, ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoweredNetwork:
    """A network as kernel calls.

    Attributes:
        weights: Every packed weight and constant, in bytes.
        workspace_size: Bytes that the maps between the kernels take.
        output_shape: (C, H, W); what a user gets is (C,) where H and W are 1.
    """

    steps: tuple[KernelCall, ...]
    weights: Bytes
    workspace_size: int
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True, slots=True)
class Filled:
    """A planned kernel with its tile, and where each argument that is no map begins."""

    planned: PlannedKernel
    tile: Tile
    blobs: Mapping[str, int]


def empty(planned: PlannedKernel) -> Filled:
    """A kernel that is not run."""
    return Filled(planned, None, {})


def lower(
    model: Model,
    unit: VectorUnit,
    choose_tile: TileChoice,
    *,
    apart: bool = False,
    only: Collection[int] | None = None,
) -> LoweredNetwork:
    """Returns ``model``, its batch norms folded, as calls of kernels for ``unit``.

    Args:
        apart: Whether no two maps share memory, so that kernels can be run in any order: codes
            that are read as real numbers would be tiny ones, which take a processor very long.
        only: Places of the kernels that get weights; the others cannot be run. None is all.

    Raises:
        UnsupportedOperatorError: If a node has an operator or a format without a kernel.
        UserError: If a step vanishes, or an integer sum could leave 32 bits.
    """
    return Lowering(fold_batch_norm(model), unit, choose_tile, apart, only).run()


class Lowering:
    """One network being lowered: its kernels are planned, then filled, then given memory."""

    def __init__(
        self,
        model: Model,
        unit: VectorUnit,
        choose_tile: TileChoice,
        apart: bool,
        only: Collection[int] | None,
    ) -> None:
        self.graph = model.graph
        self.unit, self.choose_tile, self.apart, self.only = unit, choose_tile, apart, only
        self.plan = plan_kernels(model.graph, unit)
        self.places = self.plan.places
        self.constants = Constants(model, self.plan.schedule)
        self.weights: list[Bytes] = []
        self.weights_size = 0

    def run(self) -> LoweredNetwork:
        steps = [
            self.fill(planned) if self.only is None or index in self.only else empty(planned)
            for index, planned in enumerate(self.plan.kernels)
        ]
        offsets, size = self.workspace()
        return LoweredNetwork(
            tuple(
                KernelCall(
                    step.planned.kernel,
                    step.tile,
                    step.planned.node,
                    self.addresses(step, offsets),
                    step.planned.numbers,
                )
                for step in steps
            ),
            np.concatenate([*self.weights, np.zeros(SPARE, np.uint8)]),
            size + SPARE,
            self.graph.input_shape,
            self.graph.output.shape,
        )

    # Weights and constants

    def fill(self, planned: PlannedKernel) -> Filled:
        kernel, work = planned.kernel, planned.work
        tile: Tile = None
        blobs: dict[str, Bytes] = {}
        if isinstance(kernel, TiledKernel):
            assert work is not None
            tile = self.choose_tile(kernel)
            weights = kernel.pack(*self.numbers(work), self.unit, tile)
            blobs = {"weights": as_bytes(weights)} | self.epilogue_blobs(kernel, work)
        elif isinstance(kernel, SparseLinearKernel):
            assert work is not None
            packed = kernel.pack(*self.numbers(work))
            blobs = {name: as_bytes(array) for name, array in packed.items()}
            blobs |= self.epilogue_blobs(kernel, work)
        elif isinstance(kernel, PlainKernel):
            assert work is not None
            blobs = self.epilogue_blobs(kernel, work)
            if kernel.has_steps:
                blobs["steps"] = as_bytes(self.constants.steps(work.inputs))
        elif isinstance(kernel, PlanarCodesKernel):
            assert work is not None
            blobs = {"steps": as_bytes(self.constants.inverse_step(work.targets[0]))}
        return Filled(planned, tile, {name: self.add_blob(blob) for name, blob in blobs.items()})

    def numbers(self, work: Work) -> tuple[NDArray[Any], ...]:
        """Weights as the kernel of a work counts them, and biases where they are its own."""
        weight, *rest = self.constants.weights(work)
        if not isinstance(work.operator, Linear):
            return weight, *rest
        source = self.places.view(work.inputs[0])
        weight = weight.reshape(-1, *source.shape)
        if is_flat(source):
            if not source.planar:
                weight = weight.transpose(0, 2, 3, 1)
            weight = weight.reshape(len(weight), -1, 1, 1)
        return weight, *rest

    def epilogue_blobs(
        self, kernel: TiledKernel[Any] | SparseLinearKernel | PlainKernel, work: Work
    ) -> dict[str, Bytes]:
        if not kernel.epilogue.has_constants:
            return {}
        values = self.constants.epilogue(work, scaled=kernel.epilogue.scaled)
        padded, places = kernel.padded_channels(self.unit), kernel.places(self.unit)
        return {"constants": as_bytes(kernel.epilogue.pack(values, padded, places))}

    def add_blob(self, packed: Bytes) -> int:
        offset = self.weights_size
        padded = np.zeros(aligned(packed.size), np.uint8)
        padded[: packed.size] = packed
        self.weights.append(padded)
        self.weights_size += padded.size
        return offset

    # Memory

    def workspace(self) -> tuple[dict[MapKey, int], int]:
        """Where each buffer between the kernels begins, and how many bytes they take."""
        lifetimes: dict[MapKey, Lifetime] = {}
        for index, planned in enumerate(self.plan.kernels):
            for name in planned.maps.values():
                if self.places.memory_of(name) != "workspace":
                    continue
                buffer = self.places.place(name).buffer
                known = lifetimes.get(buffer)
                first = known.first_step if known else index
                size = self.places.buffer_view(buffer).bytes
                last = len(self.plan.kernels) if self.apart else index
                lifetimes[buffer] = Lifetime(size, 0 if self.apart else first, last)
        plan = plan_memory(tuple(lifetimes.values()))
        return dict(zip(lifetimes, plan.offsets, strict=True)), plan.size

    def addresses(self, step: Filled, offsets: Mapping[MapKey, int]) -> tuple[Address, ...]:
        maps = step.planned.maps
        return tuple(
            self.address(maps[argument], offsets)
            if argument in maps
            else Address("weights", step.blobs.get(argument, 0))
            for argument in step.planned.kernel.arguments
        )

    def address(self, name: MapKey, offsets: Mapping[MapKey, int]) -> Address:
        memory = self.places.memory_of(name)
        if memory == "input" or name == RESULT:
            return Address(memory, 0)
        inside = self.places.byte_offset(name)
        if memory == "output":
            return Address("output", inside)
        buffer = self.places.place(name).buffer
        view = self.places.buffer_view(buffer)
        origin = view.origin * view.form.element_bytes
        return Address("workspace", offsets[buffer] + origin + inside)


def as_bytes(array: NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(array).ravel().view(np.uint8)
