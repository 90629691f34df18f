"""Lowering: a model as a list of kernel calls on planned memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.constants import Constants
from latency_models.kernels.bit_conv import BitConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.convolution import ConvTile
from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.depthwise import DepthwiseKernel, DepthwiseTile
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.integer_conv import IntegerConvKernel
from latency_models.kernels.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.layout import (
    BorderKernel,
    LayoutKernel,
    PlanarCodesKernel,
    PlaneBorderKernel,
    ShuffleKernel,
)
from latency_models.kernels.plain import PlainKernel
from latency_models.kernels.pointwise import MagnitudeKernel, PointwiseKernel
from latency_models.kernels.pool import CodePoolKernel, GlobalPoolKernel, PoolKernel
from latency_models.kernels.sign_conv import SignConvKernel
from latency_models.kernels.view import View
from latency_models.machine_code import Address
from latency_models.memory_plan import Lifetime, aligned, plan_memory
from latency_models.placement import GIVEN, RESULT, Placement
from latency_models.works import Copy, InputCodes, Work, plan_works
from search_spaces.errors import UnsupportedOperatorError
from search_spaces.graph import INPUT, Graph
from search_spaces.model import Model, fold_batch_norm
from search_spaces.operators import (
    OPERATOR_NAMES,
    Activate,
    Add,
    AvgPool,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    Magnitude,
    MaxPool,
    Quantize,
    Scale,
    Shape,
    Size,
)
from search_spaces.precision import Precision
from search_spaces.quantization import check_accumulators

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
TiledKernel = (
    Conv2dKernel
    | DepthwiseKernel
    | IntegerConvKernel
    | IntegerDepthwiseKernel
    | BitConvKernel
    | SignConvKernel
)
LooseKernel = (
    PlainKernel
    | CodePoolKernel
    | ShuffleKernel
    | LayoutKernel
    | PlanarCodesKernel
    | BorderKernel
    | PlaneBorderKernel
)
Kernel = TiledKernel | LooseKernel
Tile = ConvTile | DepthwiseTile | None
TileChoice = Callable[[TiledKernel], Tile]
Geometry = tuple[Size, Size, Size, Size, int]  # kernel, stride, padding, dilation, groups

SPARE = 256  # bytes after the workspace and the weights that a vector may read past their end


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
        weights: Every packed weight and constant, in bytes.
        workspace_size: Bytes that the maps between the kernels take.
        output_shape: (C, H, W); what a user gets is (C,) where H and W are 1.
    """

    steps: tuple[Step, ...]
    weights: Bytes
    workspace_size: int
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True, slots=True)
class Planned:
    """A step before its maps have addresses.

    Attributes:
        maps: The map behind each argument that is one.
        blobs: Where each other argument begins among the weights.
    """

    kernel: Kernel
    tile: Tile
    node: str
    maps: Mapping[str, str]
    blobs: Mapping[str, int]
    numbers: tuple[int, ...] = ()


def lower(model: Model, unit: VectorUnit, choose_tile: TileChoice) -> LoweredNetwork:
    """Returns ``model``, its batch norms folded, as calls of kernels for ``unit``.

    Raises:
        UnsupportedOperatorError: If a node has an operator or a format without a kernel.
        UserError: If a step vanishes, or an integer sum could leave 32 bits.
    """
    folded = fold_batch_norm(model)
    check_supported(folded.graph)
    check_accumulators(folded.graph)
    return _Lowering(folded, unit, choose_tile).run()


def check_supported(graph: Graph) -> None:
    for node in graph.nodes:
        if type(node.operator) not in SUPPORTED:
            kind = type(node.operator)
            name = OPERATOR_NAMES.get(kind, kind.__name__)
            raise UnsupportedOperatorError(
                f"TVM has no kernel for operator {name!r} ({node.name})"
            )


class _Lowering:
    """One network being lowered: first places, then kernels, then memory."""

    def __init__(self, model: Model, unit: VectorUnit, choose_tile: TileChoice) -> None:
        self.model, self.graph = model, model.graph
        self.unit, self.choose_tile = unit, choose_tile
        self.works = plan_works(model.graph, unit.lanes)
        self.places = Placement(self.works)
        self.view = self.places.view
        self.constants = Constants(model, self.works)
        self.steps: list[Planned] = []
        self.bordered: set[str] = set()
        self.weights: list[Bytes] = []
        self.weights_size = 0

    def run(self) -> LoweredNetwork:
        self.convert_input()
        for work in self.works.works:
            LOWER[type(work.operator)](self, work)
        self.convert_output()
        return self.finish()

    # Steps

    def add(
        self, kernel: Kernel, node: str, maps: Mapping[str, str], blobs: Mapping[str, Bytes] = {}
    ) -> None:
        """Adds a call with the maps and the packed numbers that are its arguments."""
        for name in maps.values():
            self.add_border(name, node)
        tile: Tile = None
        self.steps.append(
            Planned(kernel, tile, node, maps, {n: self.add_blob(b) for n, b in blobs.items()})
        )

    def add_tiled(
        self, kernel: TiledKernel, work: Work, maps: Mapping[str, str], *weights: NDArray[Any]
    ) -> None:
        """Adds a call of a kernel with weights, packed for its tile."""
        for name in maps.values():
            self.add_border(name, work.node)
        tile = self.choose_tile(kernel)
        packed = kernel.pack(*weights, self.unit, tile)  # type: ignore[arg-type, call-arg]
        blobs = {"weights": as_bytes(packed)} | self.epilogue_blobs(kernel, work)
        places = {name: self.add_blob(blob) for name, blob in blobs.items()}
        self.steps.append(Planned(kernel, tile, work.node, maps, places))

    def epilogue_blobs(self, kernel: TiledKernel | PlainKernel, work: Work) -> dict[str, Bytes]:
        if not kernel.epilogue.has_constants:
            return {}
        values = self.constants.epilogue(work, scaled=kernel.epilogue.scaled)
        padded, places = kernel.padded_channels(self.unit), kernel.places(self.unit)
        return {"constants": as_bytes(kernel.epilogue.pack(values, padded, places))}

    def add_border(self, name: str, node: str) -> None:
        """Fills the border of the buffer that ``name`` lies in, once, before it is first used."""
        if name in (GIVEN, RESULT):
            return
        buffer = self.places.place(name).buffer
        if not self.places.halos.get(buffer, 0) or buffer in self.bordered:
            return
        if self.places.memory_of(name) == "input":
            return
        self.bordered.add(buffer)
        view = self.places.buffer_view(buffer)
        if view.form.kind == "planes" and view.form.zero:
            step = Planned(PlaneBorderKernel(view), None, node, {"target": buffer}, {})
        else:
            border = BorderKernel()
            step = Planned(border, None, node, {"target": buffer}, {}, border.numbers(view))
        self.steps.append(step)

    def add_blob(self, packed: Bytes) -> int:
        offset = self.weights_size
        padded = np.zeros(aligned(packed.size), np.uint8)
        padded[: packed.size] = packed
        self.weights.append(padded)
        self.weights_size += padded.size
        return offset

    # Input and output

    def convert_input(self) -> None:
        outside = View(*self.graph.input_shape, planar=True)
        used = any(INPUT in work.reads for work in self.works.works)
        used = used or any(base == INPUT for base, _ in self.works.views.values())
        if used and self.view(INPUT) != outside:
            kernel = LayoutKernel(outside, self.view(INPUT))
            self.add(kernel, INPUT, {"source": GIVEN, "target": INPUT})

    def convert_output(self) -> None:
        name = self.works.output
        if self.places.output_buffer() is None:
            target = View(*self.works.maps[name].shape, planar=True)
            kernel = LayoutKernel(self.view(name), target)
            self.add(kernel, self.graph.output.name, {"source": name, "target": RESULT})

    # Memory

    def finish(self) -> LoweredNetwork:
        lifetimes: dict[str, Lifetime] = {}
        for index, step in enumerate(self.steps):
            for name in step.maps.values():
                if self.places.memory_of(name) != "workspace":
                    continue
                buffer = self.places.place(name).buffer
                known = lifetimes.get(buffer)
                first = known.first_step if known else index
                size = self.places.buffer_view(buffer).bytes
                lifetimes[buffer] = Lifetime(size, first, index)
        plan = plan_memory(tuple(lifetimes.values()))
        offsets = dict(zip(lifetimes, plan.offsets, strict=True))
        return LoweredNetwork(
            tuple(
                Step(s.kernel, s.tile, s.node, self.addresses(s, offsets), s.numbers)
                for s in self.steps
            ),
            np.concatenate([*self.weights, np.zeros(SPARE, np.uint8)]),
            plan.size + SPARE,
            self.graph.input_shape,
            self.graph.output.shape,
        )

    def addresses(self, step: Planned, offsets: Mapping[str, int]) -> tuple[Address, ...]:
        return tuple(
            self.address(step.maps[argument], offsets)
            if argument in step.maps
            else Address("weights", step.blobs[argument])
            for argument in step.kernel.arguments
        )

    def address(self, name: str, offsets: Mapping[str, int]) -> Address:
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

    # Works

    def epilogue(self, work: Work, *, scaled: bool = False, factor: str | None = None) -> Epilogue:
        return Epilogue(
            tuple(self.view(name) for name in work.targets),
            work.activation,
            self.view(work.residual) if work.residual else None,
            scaled,
            self.view(factor) if factor else None,
        )

    def end_maps(self, work: Work) -> dict[str, str]:
        """The maps behind an epilogue's arguments."""
        maps = {"residual": work.residual} if work.residual else {}
        return maps | {f"target{index}": name for index, name in enumerate(work.targets)}

    def conv2d(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, Conv2d)
        source = self.view(work.inputs[0])
        factor = work.inputs[1] if len(work.inputs) > 1 else None
        scaled = operator.precision.weights != "real"
        end = self.epilogue(work, scaled=scaled, factor=factor)
        maps = {"source": work.inputs[0]} | self.end_maps(work)
        if factor:
            maps["factor"] = factor
        geometry = (operator.kernel_size, operator.stride, operator.pads, operator.dilation)
        weights = self.constants.weights(work)
        if operator.is_depthwise(source.channels) and not source.planar:
            kind = IntegerDepthwiseKernel if source.form.kind == "codes" else DepthwiseKernel
            self.add_tiled(kind(source, end, *geometry), work, maps, *weights)
            return
        kernel = convolution(operator.precision, source, end, (*geometry, operator.groups))
        self.add_tiled(kernel, work, maps, *weights)

    def linear(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, Linear)
        source = self.view(work.inputs[0])
        end = self.epilogue(work, scaled=operator.precision.weights != "real")
        channels, height, width = source.shape
        weight, *rest = self.constants.weights(work)
        weight = weight.reshape(-1, channels, height, width)
        window = (height, width)
        if source.dense and source.form.kind != "planes":
            if not source.planar:
                weight = weight.transpose(0, 2, 3, 1)
            weight = weight.reshape(-1, channels * height * width, 1, 1)
            source = View(channels * height * width, 1, 1, form=source.form)
            window = (1, 1)
        geometry: Geometry = (window, (1, 1), (0, 0), (1, 1), 1)
        kernel = convolution(operator.precision, source, end, geometry)
        maps = {"source": work.inputs[0]} | self.end_maps(work)
        self.add_tiled(kernel, work, maps, weight, *rest)

    def plain(self, kernel: PlainKernel, work: Work) -> None:
        maps = {f"source{index}": name for index, name in enumerate(work.inputs)}
        blobs = self.epilogue_blobs(kernel, work)
        if kernel.has_steps:
            blobs["steps"] = as_bytes(self.constants.steps(work.inputs))
        self.add(kernel, work.node, maps | self.end_maps(work), blobs)

    def sources(self, work: Work) -> tuple[View, ...]:
        return tuple(self.view(name) for name in work.inputs)

    def pool(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, MaxPool | AvgPool)
        window = (operator.kernel_size, operator.stride, operator.padding)
        source, target = self.view(work.inputs[0]), self.view(work.targets[0])
        maximum = isinstance(operator, MaxPool)
        if maximum and source.form == target.form and source.form.kind == "codes":
            kernel = CodePoolKernel(source, target, *window)
            self.add(kernel, work.node, {"source": work.inputs[0], "target": work.targets[0]})
            return
        kind = "max" if maximum else "average"
        self.plain(PoolKernel((source,), self.epilogue(work), kind, *window), work)  # type: ignore[arg-type]

    def global_pool(self, work: Work) -> None:
        self.plain(GlobalPoolKernel(self.sources(work), self.epilogue(work)), work)

    def pointwise(self, work: Work) -> None:
        kinds = {Add: "add", Scale: "scale", Activate: "copy", Copy: "copy"}
        kind = kinds[type(work.operator)]
        self.plain(PointwiseKernel(self.sources(work), self.epilogue(work), kind), work)  # type: ignore[arg-type]

    def magnitude(self, work: Work) -> None:
        self.plain(MagnitudeKernel(self.sources(work), self.epilogue(work)), work)

    def channel_shuffle(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, ChannelShuffle)
        source, target = self.view(work.inputs[0]), self.view(work.targets[0])
        kernel = ShuffleKernel(source, target, operator.groups)
        self.add(kernel, work.node, {"source": work.inputs[0], "target": work.targets[0]})

    def concat(self, work: Work) -> None:
        """Copies the parts that could not be written in their place to begin with."""
        (whole,) = work.targets
        first = 0
        for index, name in enumerate(work.inputs):
            base = name
            while base in self.works.views and base not in self.places.homes:
                base = self.works.views[base][0]
            same = self.works.maps[base].shape == self.works.maps[name].shape
            if not (same and self.places.is_written_in(base, whole, first)):
                part = self.places.add_part(whole, index, name, first)
                self.copy(Work(Copy(), work.node, (name,), (part,)))
            first += self.works.maps[name].shape[0]

    def copy(self, work: Work) -> None:
        self.pointwise(work)

    def input_codes(self, work: Work) -> None:
        outside = View(*self.graph.input_shape, planar=True)
        kernel = PlanarCodesKernel(outside, self.view(work.targets[0]))
        inverse = as_bytes(self.constants.inverse_step(work.targets[0]))
        maps = {"source": GIVEN, "target": work.targets[0]}
        self.add(kernel, work.node, maps, {"steps": inverse})


def convolution(
    precision: Precision, source: View, end: Epilogue, geometry: Geometry
) -> TiledKernel:
    """The kernel of a convolution, by what its numbers are."""
    if precision.weights == "real":
        return Conv2dKernel(source, end, *geometry)
    if precision.activations == "real":
        return SignConvKernel(source, end, *geometry)
    if source.form.kind == "planes":
        return BitConvKernel(source, end, *geometry, precision.weight_bits)
    return IntegerConvKernel(source, end, *geometry, precision.weight_bits)


def as_bytes(array: NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(array).ravel().view(np.uint8)


LOWER: dict[type, Callable[[_Lowering, Work], None]] = {
    Conv2d: _Lowering.conv2d,
    Linear: _Lowering.linear,
    MaxPool: _Lowering.pool,
    AvgPool: _Lowering.pool,
    GlobalAvgPool: _Lowering.global_pool,
    Add: _Lowering.pointwise,
    Scale: _Lowering.pointwise,
    Activate: _Lowering.pointwise,
    Copy: _Lowering.copy,
    InputCodes: _Lowering.input_codes,
    Magnitude: _Lowering.magnitude,
    ChannelShuffle: _Lowering.channel_shuffle,
    Concat: _Lowering.concat,
}
SUPPORTED = frozenset(LOWER) | {Dropout, ChannelSplit, Quantize}
