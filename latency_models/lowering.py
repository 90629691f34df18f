"""Lowering: a model as a list of kernel calls on planned memory.

Every map is given a home: a buffer of its own, or some channels of the buffer of the concatenation
that it goes into, so that concatenating, splitting and dropout move nothing. A buffer's zero
border is as wide as the widest padding among those who read it.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

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
MOST_PLANAR_CHANNELS = 4  # an input of more channels is worth turning into NHWC


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


@dataclass(frozen=True, slots=True)
class Place:
    """Channels of a buffer: where a map lies. Buffers are named after the map that owns them."""

    buffer: str
    first_channel: int


class _Lowering:
    """One network being lowered: first homes and halos, then kernels, then memory."""

    def __init__(self, model: Model, unit: VectorUnit, choose_tile: TileChoice) -> None:
        self.arrays, self.graph = model.arrays, model.graph
        self.unit, self.choose_tile = unit, choose_tile
        self.kernels = fuse(model.graph)
        self.shapes = dict(model.graph.shapes)
        self.pushed: dict[str, Activation] = {}  # activations of concatenations, by their parts
        self.homes = concat_homes(self.graph, self.kernels, self.pushed)
        self.steps: list[tuple[Kernel, Tile, str, tuple[str, ...], int]] = []
        self.bordered: set[str] = set()
        self.weights: list[Array] = []
        self.weights_size = 0
        self.planar_input = reads_planar(self.graph, self.kernels)
        self.halos: Mapping[str, int] = self.find_halos()

    def run(self) -> LoweredNetwork:
        self.convert_input()
        for kernel in self.kernels:
            LOWER[type(kernel.operator)](self, kernel)
        self.convert_output()
        return self.finish()

    # Homes

    def root(self, name: str) -> tuple[str, int]:
        """The computed map that ``name`` is (part of), and the first of its channels."""
        first = 0
        while name != INPUT and name in self.graph.shapes:
            node = self.graph.node(name)
            if isinstance(node.operator, ChannelSplit):
                first += node.operator.start
            elif not isinstance(node.operator, Dropout):
                break
            name = node.inputs[0]
        return name, first

    def place(self, name: str) -> Place:
        """The buffer in which a map lies."""
        name, first = self.root(name)
        while name in self.homes:
            home = self.homes[name]
            name, first = home.buffer, first + home.first_channel
        return Place(name, first)

    def view(self, name: str) -> View:
        place = self.place(name)
        if place.buffer == INPUT and self.planar_input:
            assert place.first_channel == 0
            return self.planar_view()
        channels, height, width = self.shapes[name]
        buffer_channels = self.shapes[place.buffer][0]
        return View(channels, height, width, self.halos.get(place.buffer, 0), buffer_channels)

    def planar_view(self) -> View:
        return View(*self.graph.input_shape, halo=self.halos.get(INPUT, 0), planar=True)

    def find_halos(self) -> dict[str, int]:
        halos: dict[str, int] = defaultdict(int)
        for kernel in self.kernels:
            operator = kernel.operator
            pads = (0, 0)
            if isinstance(operator, Conv2d):
                pads = operator.pads
            elif isinstance(operator, AvgPool):
                pads = operator.padding
            for name in kernel.inputs:
                buffer = self.place(name).buffer
                halos[buffer] = max(halos[buffer], *pads)
        return halos

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
        if name.startswith("<"):
            return
        buffer = self.place(name).buffer
        if self.halos.get(buffer, 0) and buffer not in self.bordered:
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
        return self.pushed.get(kernel.output, kernel.activation)

    # Input and output

    def convert_input(self) -> None:
        outside = View(*self.graph.input_shape, planar=True)
        if self.view(INPUT) != outside:
            self.add(LayoutKernel(outside, self.view(INPUT)), INPUT, "<input>", INPUT)

    def input_is_outside(self) -> bool:
        return self.planar_input and self.halos.get(INPUT, 0) == 0

    def convert_output(self) -> None:
        name = self.graph.output.name
        source = self.view(name)
        if self.output_buffer() is None:
            target = View(*self.shapes[name], planar=True)
            self.add(LayoutKernel(source, target), name, name, "<output>")

    def output_buffer(self) -> str | None:
        """The buffer that can be the output tensor itself, if there is one."""
        name = self.graph.output.name
        place = self.place(name)
        same = place == Place(name, 0) and self.shapes[name][1:] == (1, 1)
        return name if same and not self.halos.get(name, 0) else None

    # Memory

    def finish(self) -> LoweredNetwork:
        lifetimes: dict[str, Lifetime] = {}
        for index, (_, _, _, maps, _) in enumerate(self.steps):
            for name in maps:
                if self.memory_of(name) != "workspace":
                    continue
                buffer = self.place(name).buffer
                known = lifetimes.get(buffer)
                first = known.first_step if known else index
                lifetimes[buffer] = Lifetime(self.buffer_view(buffer).size, first, index)
        plan = plan_memory(tuple(lifetimes.values()))
        offsets = dict(zip(lifetimes, plan.offsets, strict=True))
        return LoweredNetwork(
            tuple(
                Step(
                    kernel,
                    tile,
                    node,
                    self.addresses(kernel, maps, weights, offsets),
                    kernel.numbers(self.buffer_view(maps[-1]))
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

    def buffer_view(self, buffer: str) -> View:
        if buffer == INPUT and self.planar_input:
            return self.planar_view()
        return View(*self.shapes[buffer], halo=self.halos.get(buffer, 0))

    def memory_of(self, name: str) -> str:
        if name == "<input>" or (self.place_or_none(name) == INPUT and self.input_is_outside()):
            return "input"
        if name == "<output>" or self.place_or_none(name) == self.output_buffer():
            return "output"
        return "workspace"

    def place_or_none(self, name: str) -> str:
        return name if name.startswith("<") else self.place(name).buffer

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
        memory = self.memory_of(name)
        if memory == "input":
            return Address("input", 0)
        if name == "<output>":
            return Address("output", 0)
        place = self.place(name)
        if memory == "output":
            return Address("output", place.first_channel)
        view = self.buffer_view(place.buffer)
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
            root, _ = self.root(name)
            place = Place(kernel.output, first)
            if self.homes.get(root) != place or self.shapes[root] != self.shapes[name]:
                part = f"{kernel.output}<{index}>"
                self.shapes[part] = self.shapes[name]
                self.homes[part] = place
                target = self.part_view(part)
                work = PointwiseKernel(self.view(name), target, activation=kernel.activation)
                self.add(work, kernel.node.name, name, part)
            first += self.shapes[name][0]

    def part_view(self, part: str) -> View:
        whole = self.view(self.homes[part].buffer)
        return replace(whole, channels=self.shapes[part][0])


def concat_homes(
    graph: Graph, kernels: tuple[FusedKernel, ...], pushed: dict[str, Activation]
) -> dict[str, Place]:
    """Returns, for each map that can be written into a concatenation at once, where.

    A concatenation's own activation moves into such a part's kernel, and into ``pushed``.
    """
    by_output = {kernel.output: kernel for kernel in kernels}
    homes: dict[str, Place] = {}
    for kernel in kernels:
        if not isinstance(kernel.operator, Concat):
            continue
        first = 0
        for name in kernel.inputs:
            part = name
            alone = len(graph.consumers[name]) == 1
            while part != INPUT and isinstance(graph.node(part).operator, Dropout):
                part = graph.node(part).inputs[0]
                alone = alone and len(graph.consumers[part]) == 1
            maker = by_output.get(part)
            if maker is not None and part not in homes:
                if kernel.activation == "none":
                    homes[part] = Place(kernel.output, first)
                elif (
                    alone
                    and maker.activation == "none"
                    and isinstance(maker.operator, Conv2d | Linear | Add | Scale)
                ):
                    homes[part] = Place(kernel.output, first)
                    pushed[part] = kernel.activation
            first += graph.shapes[name][0]
    return homes


def reads_planar(graph: Graph, kernels: tuple[FusedKernel, ...]) -> bool:
    """Whether everyone who reads the input reads single numbers, so that it can stay NCHW."""
    for kernel in kernels:
        if kernel.residual == INPUT:
            return False
        if INPUT not in kernel.inputs:
            continue
        operator = kernel.operator
        channels = graph.input_shape[0]
        if isinstance(operator, Linear):
            continue
        if not isinstance(operator, Conv2d) or channels > MOST_PLANAR_CHANNELS:
            return False
        if operator.groups == channels == operator.out_channels and channels > 1:
            return False
    views = (ChannelSplit, Dropout)
    return not any(INPUT in n.inputs and isinstance(n.operator, views) for n in graph.nodes)


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
