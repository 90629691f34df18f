"""Planning: a graph as a list of kernels on maps; what they are, and not yet what is in them.

The plan follows from the graph and the vector unit alone, so that costs and predictions speak of
the very kernels that are compiled; ``lowering`` adds weights and addresses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latency_models.compiler.placement import GIVEN, RESULT, Placement
from latency_models.compiler.schedule import (
    INPUT_MAP,
    Copy,
    InputCodes,
    MapKey,
    Schedule,
    Work,
    make_schedule,
)
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.convolution import Convolution, ConvTile
from latency_models.kernels.depthwise import DepthwiseKernel, DepthwiseTile
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.kernel import Kernel, MovingKernel
from latency_models.kernels.layout import (
    BorderKernel,
    LayoutKernel,
    PlanarCodesKernel,
    PlaneBorderKernel,
    ShuffleKernel,
)
from latency_models.kernels.plain import MagnitudeKernel, PlainKernel, PointwiseKernel
from latency_models.kernels.reductions import (
    CodePoolKernel,
    GlobalPoolKernel,
    LayerNormKernel,
    LocalResponseKernel,
    PoolKernel,
)
from latency_models.kernels.sparse.linear import SparseLinearKernel
from latency_models.kernels.view import View
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import INPUT, Graph
from search_spaces.graphs.precision import Precision
from search_spaces.quantization.codes import check_accumulators

KERNELS: tuple[type[Kernel], ...] = (
    *(Conv2dKernel, DepthwiseKernel, IntegerConvKernel, IntegerDepthwiseKernel, BitConvKernel),
    *(SignConvKernel, PoolKernel, GlobalPoolKernel, PointwiseKernel, MagnitudeKernel),
    *(CodePoolKernel, ShuffleKernel, LayoutKernel, PlanarCodesKernel, BorderKernel),
    *(PlaneBorderKernel, LayerNormKernel, LocalResponseKernel, SparseLinearKernel),
)
WIDEST_RESPONSE = 15  # channels of a window, whose sum is written out
Tile = ConvTile | DepthwiseTile | None
# Of kernel, stride, padding and dilation, and groups.
Geometry = tuple[ops.Size, ops.Size, ops.Size, ops.Size, int]


@dataclass(frozen=True, slots=True)
class PlannedKernel:
    """One kernel to run.

    Attributes:
        node: The graph's node that it computes; "input" for the change of layout.
        maps: The map behind each argument that is one.
        work: What it computes; None where it only prepares memory.
        numbers: Plain numbers that it is called with.
    """

    kernel: Kernel
    node: str
    maps: Mapping[str, MapKey]
    work: Work | None = None
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The kernels of a network in an order in which they can run, and where its maps lie."""

    kernels: tuple[PlannedKernel, ...]
    schedule: Schedule
    places: Placement


def plan_kernels(graph: Graph, unit: VectorUnit) -> Plan:
    """Returns the kernels of ``graph`` for ``unit``, whether or not its batch norms are folded.

    Raises:
        UnsupportedOperatorError: If a node has an operator or a format without a kernel.
        UserError: If an integer sum could leave 32 bits.
    """
    check_supported(graph)
    check_accumulators(graph)
    return Planner(graph, unit).run()


def check_supported(graph: Graph) -> None:
    for node in graph.nodes:
        if type(node.operator) not in SUPPORTED:
            kind = type(node.operator)
            name = ops.OPERATOR_NAMES.get(kind, kind.__name__)
            raise UnsupportedOperatorError(
                f"TVM has no kernel for operator {name!r} ({node.name})"
            )


class Planner:
    """One network being planned: first places, then kernels."""

    def __init__(self, graph: Graph, unit: VectorUnit) -> None:
        self.graph = graph
        self.schedule = make_schedule(graph, unit.lanes)
        self.places = Placement(self.schedule)
        self.view = self.places.view
        self.kernels: list[PlannedKernel] = []
        self.bordered: set[MapKey] = set()

    def run(self) -> Plan:
        self.convert_input()
        for work in self.schedule.works:
            PLAN[type(work.operator)](self, work)
        self.convert_output()
        return Plan(tuple(self.kernels), self.schedule, self.places)

    # Kernels

    def add(
        self, kernel: Kernel, node: str, maps: Mapping[str, MapKey], work: Work | None = None
    ) -> None:
        """Adds a kernel, after those that fill the borders of its maps."""
        for name in maps.values():
            self.add_border(name, node)
        self.kernels.append(PlannedKernel(kernel, node, maps, work))

    def add_border(self, name: MapKey, node: str) -> None:
        """Fills the border of the buffer that ``name`` lies in, once, before it is first used."""
        if name in (GIVEN, RESULT):
            return
        buffer = self.places.place(name).buffer
        if not self.places.halos.get(buffer, 0) or buffer in self.bordered:
            return
        if self.places.memory_of(name) == "input":
            return
        self.bordered.add(buffer)
        view, maps = self.places.buffer_view(buffer), {"target": buffer}
        if view.form.kind == "planes" and view.form.zero:
            self.kernels.append(PlannedKernel(PlaneBorderKernel(view), node, maps))
        else:
            border = BorderKernel()
            numbers = border.numbers(view)
            self.kernels.append(PlannedKernel(border, node, maps, numbers=numbers))

    # Input and output

    def convert_input(self) -> None:
        outside = View(*self.graph.input_shape, planar=True)
        used = any(INPUT_MAP in work.reads for work in self.schedule.works)
        used = used or any(base == INPUT_MAP for base, _ in self.schedule.views.values())
        if used and self.view(INPUT_MAP) != outside:
            kernel = LayoutKernel(outside, self.view(INPUT_MAP))
            self.add(kernel, INPUT, {"source": GIVEN, "target": INPUT_MAP})

    def convert_output(self) -> None:
        name = self.schedule.output
        if self.places.output_buffer() is None:
            target = View(*self.schedule.maps[name].shape, planar=True)
            kernel = LayoutKernel(self.view(name), target)
            self.add(kernel, self.graph.output.name, {"source": name, "target": RESULT})

    # Works

    def epilogue(
        self, work: Work, *, scaled: bool = False, factor: MapKey | None = None
    ) -> Epilogue:
        return Epilogue(
            tuple(self.view(name) for name in work.targets),
            work.activation,
            self.view(work.residual) if work.residual else None,
            scaled,
            self.view(factor) if factor else None,
        )

    def end_maps(self, work: Work) -> dict[str, MapKey]:
        """The maps behind an epilogue's arguments."""
        maps = {"residual": work.residual} if work.residual else {}
        return maps | {f"target{index}": name for index, name in enumerate(work.targets)}

    def conv2d(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, ops.Conv2d)
        source = self.view(work.inputs[0])
        factor = work.inputs[1] if len(work.inputs) > 1 else None
        scaled = operator.precision.weights != "real"
        end = self.epilogue(work, scaled=scaled, factor=factor)
        maps = {"source": work.inputs[0]} | self.end_maps(work)
        if factor:
            maps["factor"] = factor
        geometry = (operator.kernel_size, operator.stride, operator.pads, operator.dilation)
        if operator.is_depthwise(source.channels) and not source.planar:
            kind = IntegerDepthwiseKernel if source.form.kind == "codes" else DepthwiseKernel
            self.add(kind(source, end, *geometry), work.node, maps, work)
            return
        kernel = convolution(operator.precision, source, end, (*geometry, operator.groups))
        self.add(kernel, work.node, maps, work)

    def linear(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, ops.Linear)
        source = self.view(work.inputs[0])
        end = self.epilogue(work, scaled=operator.precision.weights != "real")
        channels, height, width = source.shape
        window = (height, width)
        if is_flat(source):
            source = View(channels * height * width, 1, 1, form=source.form)
            window = (1, 1)
        geometry: Geometry = (window, (1, 1), (0, 0), (1, 1), 1)
        sparsity = operator.sparsity
        kernel: Kernel = (
            convolution(operator.precision, source, end, geometry)
            if sparsity is None
            else SparseLinearKernel(source, end, sparsity.density, sparsity.bits)
        )
        maps = {"source": work.inputs[0]} | self.end_maps(work)
        self.add(kernel, work.node, maps, work)

    def plain(self, kernel: PlainKernel, work: Work) -> None:
        maps = {f"source{index}": name for index, name in enumerate(work.inputs)}
        self.add(kernel, work.node, maps | self.end_maps(work), work)

    def move(self, kernel: MovingKernel, work: Work) -> None:
        maps = {"source": work.inputs[0], "target": work.targets[0]}
        self.add(kernel, work.node, maps, work)

    def sources(self, work: Work) -> tuple[View, ...]:
        return tuple(self.view(name) for name in work.inputs)

    def pool(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, ops.MaxPool | ops.AvgPool)
        window = (operator.kernel_size, operator.stride, operator.padding)
        source, target = self.view(work.inputs[0]), self.view(work.targets[0])
        maximum = isinstance(operator, ops.MaxPool)
        if maximum and source.form == target.form and source.form.kind == "codes":
            self.move(CodePoolKernel(source, target, *window), work)
            return
        end = self.epilogue(work)
        if isinstance(operator, ops.AvgPool):
            counted = operator.counted(source.shape, target.shape)
            self.plain(PoolKernel((source,), end, "average", *window, counted), work)
        else:
            self.plain(PoolKernel((source,), end, "max", *window), work)

    def global_pool(self, work: Work) -> None:
        self.plain(GlobalPoolKernel(self.sources(work), self.epilogue(work)), work)

    def pointwise(self, work: Work) -> None:
        kind = {ops.Add: "add", ops.Scale: "scale"}.get(type(work.operator), "copy")
        # The factor and the term of a norm are those of an epilogue.
        end = self.epilogue(work, scaled=isinstance(work.operator, ops.BatchNorm))
        self.plain(PointwiseKernel(self.sources(work), end, kind), work)  # type: ignore[arg-type]

    def magnitude(self, work: Work) -> None:
        self.plain(MagnitudeKernel(self.sources(work), self.epilogue(work)), work)

    def layer_norm(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, ops.LayerNorm)
        end = self.epilogue(work, scaled=True)  # its gain and bias
        self.plain(LayerNormKernel(self.sources(work), end, operator.epsilon), work)

    def local_response_norm(self, work: Work) -> None:
        does = work.operator
        assert isinstance(does, ops.LocalResponseNorm)
        if does.size > WIDEST_RESPONSE:
            raise UnsupportedOperatorError(
                f"TVM has a kernel for a local_response_norm of size at most {WIDEST_RESPONSE}, "
                f"got {does.size} ({work.node})"
            )
        settings = (does.size, does.alpha, does.beta, does.k)
        kernel = LocalResponseKernel(self.sources(work), self.epilogue(work), *settings)
        self.plain(kernel, work)

    def channel_shuffle(self, work: Work) -> None:
        operator = work.operator
        assert isinstance(operator, ops.ChannelShuffle)
        source, target = self.view(work.inputs[0]), self.view(work.targets[0])
        self.move(ShuffleKernel(source, target, operator.groups), work)

    def concat(self, work: Work) -> None:
        """Copies the parts that could not be written in their place to begin with."""
        (whole,) = work.targets
        first = 0
        for index, name in enumerate(work.inputs):
            base = name
            while base in self.schedule.views and base not in self.places.homes:
                base = self.schedule.views[base][0]
            same = self.schedule.maps[base].shape == self.schedule.maps[name].shape
            if not (same and self.places.is_written_in(base, whole, first)):
                part = self.places.add_part(whole, index, name, first)
                self.pointwise(Work(Copy(), work.node, (name,), (part,)))
            first += self.schedule.maps[name].shape[0]

    def input_codes(self, work: Work) -> None:
        outside = View(*self.graph.input_shape, planar=True)
        kernel = PlanarCodesKernel(outside, self.view(work.targets[0]))
        self.add(kernel, work.node, {"source": GIVEN, "target": work.targets[0]}, work)


def is_flat(source: View) -> bool:
    """Whether a fully connected layer reads a map as one long pixel."""
    return source.dense and source.form.kind != "planes"


def convolution(
    precision: Precision, source: View, end: Epilogue, geometry: Geometry
) -> Convolution:
    """The kernel of a convolution, by what its numbers are."""
    if precision.weights == "real":
        return Conv2dKernel(source, end, *geometry)
    if precision.activations == "real":
        return SignConvKernel(source, end, *geometry)
    if source.form.kind == "planes":
        return BitConvKernel(source, end, *geometry, precision.weight_bits)
    return IntegerConvKernel(source, end, *geometry, precision.weight_bits)


PLAN: dict[type, Callable[[Planner, Work], None]] = {
    ops.Conv2d: Planner.conv2d,
    ops.Linear: Planner.linear,
    ops.MaxPool: Planner.pool,
    ops.AvgPool: Planner.pool,
    ops.GlobalAvgPool: Planner.global_pool,
    ops.Add: Planner.pointwise,
    ops.Scale: Planner.pointwise,
    ops.Activate: Planner.pointwise,
    ops.BatchNorm: Planner.pointwise,
    Copy: Planner.pointwise,
    InputCodes: Planner.input_codes,
    ops.Magnitude: Planner.magnitude,
    ops.LayerNorm: Planner.layer_norm,
    ops.LocalResponseNorm: Planner.local_response_norm,
    ops.ChannelShuffle: Planner.channel_shuffle,
    ops.Concat: Planner.concat,
}
SUPPORTED = frozenset(PLAN) | {ops.Dropout, ops.ChannelSplit, ops.Quantize}
