"""Lowering: a model as a list of kernel calls on planned memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.kernels.conv2d import Conv2dKernel, ConvTile
from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.depthwise import DepthwiseKernel, DepthwiseTile
from latency_models.kernels.pointwise import (
    BorderKernel,
    LayoutKernel,
    PointwiseKernel,
    ShuffleKernel,
)
from latency_models.kernels.pool import GlobalPoolKernel, PoolKernel
from latency_models.kernels.view import View
from latency_models.machine_code import Address
from latency_models.memory_plan import Lifetime, aligned, plan_memory
from latency_models.placement import GIVEN, RESULT, Placement
from search_spaces.errors import UnsupportedOperatorError
from search_spaces.fusion import FusedKernel, fuse
from search_spaces.graph import INPUT, Graph
from search_spaces.model import Model, fold_batch_norm
from search_spaces.operators import (
    OPERATOR_NAMES,
    Activate,
    Activation,
    Add,
    AvgPool,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Scale,
    Shape,
)
from search_spaces.precision import FP32

Array = NDArray[np.float32]
TiledKernel = Conv2dKernel | DepthwiseKernel
PlainKernel = (
    PoolKernel | GlobalPoolKernel | PointwiseKernel | ShuffleKernel | LayoutKernel | BorderKernel
)
Kernel = TiledKernel | PlainKernel
Tile = ConvTile | DepthwiseTile | None
TileChoice = Callable[[TiledKernel], Tile]

SPARE = 64  # numbers after the workspace that a vector may read past the last map


@dataclass(frozen=True, slots=True)
class Step:
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
        weights: Every packed weight, float32, flat.
        workspace_size: float32 numbers that the maps between the kernels take.
        output_shape: (C, H, W); what a user gets is (C,) where H and W are 1.
    """

    steps: tuple[Step, ...]
    weights: Array
    workspace_size: int
    input_shape: Shape
    output_shape: Shape


def lower(model: Model, unit: VectorUnit, choose_tile: TileChoice) -> LoweredNetwork:
    """Returns ``model``, its batch norms folded, as calls of kernels for ``unit``.

    Raises:
        UnsupportedOperatorError: If a node has an operator or precision without a kernel.
    """
    folded = fold_batch_norm(model)
    check_supported(folded.graph)
    return _Lowering(folded, unit, choose_tile).run()


def check_supported(graph: Graph) -> None:
    for node in graph.nodes:
        if type(node.operator) not in SUPPORTED:
            kind = type(node.operator)
            name = OPERATOR_NAMES.get(kind, kind.__name__)
            raise UnsupportedOperatorError(
                f"TVM has no kernel for operator {name!r} ({node.name})"
            )
        precision = getattr(node.operator, "precision", FP32)
        if precision != FP32:
            raise UnsupportedOperatorError(
                f"TVM has no kernel of precision {precision} ({node.name}); use fp32"
            )


class _Lowering:
    """One network being lowered: first places, then kernels, then memory."""

    def __init__(self, model: Model, unit: VectorUnit, choose_tile: TileChoice) -> None:
        self.arrays, self.graph = model.arrays, model.graph
        self.unit, self.choose_tile = unit, choose_tile
        self.kernels = fuse(model.graph)
        self.places = Placement(self.graph, self.kernels)
        self.view = self.places.view
        self.steps: list[tuple[Kernel, Tile, str, tuple[str, ...], int]] = []
        self.bordered: set[str] = set()
        self.weights: list[Array] = []
        self.weights_size = 0

    def run(self) -> LoweredNetwork:
        self.convert_input()
        for kernel in self.kernels:
            LOWER[type(kernel.operator)](self, kernel)
        self.convert_output()
        return self.finish()

    # Steps

    def add(
        self, kernel: Kernel, node: str, *maps: str, weights: tuple[Array, Array] | None = None
    ) -> None:
        """Adds a call; ``maps`` are its arguments but for the weights."""
        tile: Tile = None
        offset = 0
        self.add_border(maps[-1], node)
        if isinstance(kernel, TiledKernel):
            assert weights is not None
            tile = self.choose_tile(kernel)
            packed = kernel.pack(*weights, self.unit, tile)  # type: ignore[arg-type]
            offset = self.add_weights(packed)
        self.steps.append((kernel, tile, node, maps, offset))

    def add_border(self, name: str, node: str) -> None:
        """Zeroes the border of the buffer that ``name`` lies in, once, before it is written."""
        if name == RESULT:
            return
        buffer = self.places.place(name).buffer
        if self.places.halos.get(buffer, 0) and buffer not in self.bordered:
            self.bordered.add(buffer)
            self.steps.append((BorderKernel(), None, node, (buffer,), 0))

    def add_weights(self, packed: Array) -> int:
        offset = self.weights_size
        padded = np.zeros(aligned(packed.size), np.float32)
        padded[: packed.size] = packed
        self.weights.append(padded)
        self.weights_size += padded.size
        return offset

    def array(self, name: str, size: int) -> Array:
        """A bias, or zeros where the node has none."""
        return self.arrays.get(name, np.zeros(size, np.float32))

    def activation(self, kernel: FusedKernel) -> Activation:
        return self.places.pushed.get(kernel.output, kernel.activation)

    # Input and output

    def convert_input(self) -> None:
        outside = View(*self.graph.input_shape, planar=True)
        if self.view(INPUT) != outside:
            self.add(LayoutKernel(outside, self.view(INPUT)), INPUT, GIVEN, INPUT)

    def convert_output(self) -> None:
        name = self.graph.output.name
        source = self.view(name)
        if self.places.output_buffer() is None:
            target = View(*self.places.shapes[name], planar=True)
            self.add(LayoutKernel(source, target), name, name, RESULT)

    # Memory

    def finish(self) -> LoweredNetwork:
        lifetimes: dict[str, Lifetime] = {}
        for index, (_, _, _, maps, _) in enumerate(self.steps):
            for name in maps:
                if self.places.memory_of(name) != "workspace":
                    continue
                buffer = self.places.place(name).buffer
                known = lifetimes.get(buffer)
                first = known.first_step if known else index
                lifetimes[buffer] = Lifetime(self.places.buffer_view(buffer).size, first, index)
        plan = plan_memory(tuple(lifetimes.values()))
        offsets = dict(zip(lifetimes, plan.offsets, strict=True))
        return LoweredNetwork(
            tuple(
                Step(
                    kernel,
                    tile,
                    node,
                    self.addresses(kernel, maps, weights, offsets),
                    kernel.numbers(self.places.buffer_view(maps[-1]))
                    if isinstance(kernel, BorderKernel)
                    else (),
                )
                for kernel, tile, node, maps, weights in self.steps
            ),
            np.concatenate([*self.weights, np.zeros(SPARE, np.float32)]),
            plan.size + SPARE,
            self.graph.input_shape,
            self.graph.output.shape,
        )

    def addresses(
        self, kernel: Kernel, maps: tuple[str, ...], weights: int, offsets: Mapping[str, int]
    ) -> tuple[Address, ...]:
        rest = iter(maps)
        return tuple(
            Address("weights", weights)
            if argument == "weights"
            else self.address(next(rest), offsets)
            for argument in kernel.arguments
        )

    def address(self, name: str, offsets: Mapping[str, int]) -> Address:
        memory = self.places.memory_of(name)
        if memory == "input":
            return Address("input", 0)
        if name == RESULT:
            return Address("output", 0)
        place = self.places.place(name)
        if memory == "output":
            return Address("output", place.first_channel)
        view = self.places.buffer_view(place.buffer)
        return Address("workspace", offsets[place.buffer] + view.origin + place.first_channel)

    # Operators

    def conv2d(self, kernel: FusedKernel) -> None:
        operator = kernel.operator
        assert isinstance(operator, Conv2d)
        source, target = self.view(kernel.inputs[0]), self.view(kernel.output)
        residual = self.view(kernel.residual) if kernel.residual else None
        name = kernel.node.name
        weights = (
            self.arrays[f"{name}.weight"],
            self.array(f"{name}.bias", operator.out_channels),
        )
        maps = [m for m in (kernel.inputs[0], kernel.residual, kernel.output) if m]
        if operator.groups == source.channels == operator.out_channels and not source.planar:
            work: Kernel = DepthwiseKernel(
                source,
                target,
                operator.kernel_size,
                operator.stride,
                operator.pads,
                operator.dilation,
                self.activation(kernel),
                residual,
            )
        else:
            work = Conv2dKernel(
                source,
                target,
                operator.kernel_size,
                operator.stride,
                operator.pads,
                operator.dilation,
                operator.groups,
                self.activation(kernel),
                residual,
            )
        self.add(work, name, *maps, weights=weights)

    def linear(self, kernel: FusedKernel) -> None:
        operator = kernel.operator
        assert isinstance(operator, Linear)
        source, target = self.view(kernel.inputs[0]), self.view(kernel.output)
        residual = self.view(kernel.residual) if kernel.residual else None
        name = kernel.node.name
        channels, height, width = source.shape
        weight = self.arrays[f"{name}.weight"].reshape(-1, channels, height, width)
        window = (height, width)
        if source.dense:
            if not source.planar:
                weight = weight.transpose(0, 2, 3, 1)
            weight = weight.reshape(-1, channels * height * width, 1, 1)
            source, window = View(channels * height * width, 1, 1), (1, 1)
        work = Conv2dKernel(
            source, target, window, activation=self.activation(kernel), residual=residual
        )
        maps = [m for m in (kernel.inputs[0], kernel.residual, kernel.output) if m]
        bias = self.array(f"{name}.bias", operator.out_features)
        self.add(work, name, *maps, weights=(weight, bias))

    def pool(self, kernel: FusedKernel) -> None:
        operator = kernel.operator
        assert isinstance(operator, MaxPool | AvgPool)
        work = PoolKernel(
            "max" if isinstance(operator, MaxPool) else "average",
            self.view(kernel.inputs[0]),
            self.view(kernel.output),
            operator.kernel_size,
            operator.stride,
            operator.padding,
        )
        self.add(work, kernel.node.name, kernel.inputs[0], kernel.output)

    def global_pool(self, kernel: FusedKernel) -> None:
        work = GlobalPoolKernel(self.view(kernel.inputs[0]), self.view(kernel.output))
        self.add(work, kernel.node.name, kernel.inputs[0], kernel.output)

    def pointwise(self, kernel: FusedKernel) -> None:
        source, target = self.view(kernel.inputs[0]), self.view(kernel.output)
        operator = kernel.operator
        work = PointwiseKernel(
            source,
            target,
            self.view(kernel.inputs[1]) if isinstance(operator, Add) else None,
            self.view(kernel.inputs[1]) if isinstance(operator, Scale) else None,
            self.activation(kernel),
        )
        self.add(work, kernel.node.name, *kernel.inputs, kernel.output)

    def channel_shuffle(self, kernel: FusedKernel) -> None:
        operator = kernel.operator
        assert isinstance(operator, ChannelShuffle)
        source, target = self.view(kernel.inputs[0]), self.view(kernel.output)
        work = ShuffleKernel(source, target, operator.groups)
        self.add(work, kernel.node.name, kernel.inputs[0], kernel.output)

    def concat(self, kernel: FusedKernel) -> None:
        """Copies the parts that could not be written in their place to begin with."""
        first = 0
        for index, name in enumerate(kernel.inputs):
            if not self.places.is_written_in(name, kernel.output, first):
                part = self.places.add_part(kernel.output, index, name, first)
                work = PointwiseKernel(
                    self.view(name), self.view(part), activation=kernel.activation
                )
                self.add(work, kernel.node.name, name, part)
            first += self.places.shapes[name][0]


LOWER: dict[type, Callable[[_Lowering, FusedKernel], None]] = {
    Conv2d: _Lowering.conv2d,
    Linear: _Lowering.linear,
    MaxPool: _Lowering.pool,
    AvgPool: _Lowering.pool,
    GlobalAvgPool: _Lowering.global_pool,
    Add: _Lowering.pointwise,
    Scale: _Lowering.pointwise,
    Activate: _Lowering.pointwise,
    ChannelShuffle: _Lowering.channel_shuffle,
    Concat: _Lowering.concat,
}
SUPPORTED = frozenset(LOWER) | {Dropout, ChannelSplit}
