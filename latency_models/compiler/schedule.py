"""Schedule: what a network's kernels do, before anything has a place in memory.

A map may be kept in several formats (``search_spaces.graphs.formats``); each is a map of its own
here. A work computes one node and writes all formats of its result; concatenations and views only
say where maps lie.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from latency_models.compiler.joins import push_activations, share_joins
from latency_models.compiler.windows import inner_window
from latency_models.kernels.epilogue import packable
from latency_models.kernels.view import REAL as REAL_FORM
from latency_models.kernels.view import Form, form_of
from search_spaces.graphs import operators as ops
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.formats import REAL, Formats, only_moves
from search_spaces.graphs.fusion import FusedKernel, fuse
from search_spaces.graphs.graph import INPUT, Graph, Node

MOST_PLANAR_CHANNELS = 4  # an input of more channels is worth turning into NHWC
PACKED_BITS = 2  # codes of at most so many bits are packed into planes


@dataclass(frozen=True, slots=True)
class Copy:
    """The operator of a work that only changes the format of its map."""


@dataclass(frozen=True, slots=True)
class InputCodes:
    """The operator of the work that turns the caller's tensor into codes at once."""


@dataclass(frozen=True, slots=True)
class MapKey:
    """Which map.

    Attributes:
        node: The node that gives it. What a quantizer gives is the quantizer's, whoever writes it.
        format: The quantizer whose codes it holds, or `REAL`.
        part: Of a concatenation, the operand of which a copy is kept; None is the whole map.
    """

    node: str
    format: str = REAL
    part: int | None = None


INPUT_MAP = MapKey(INPUT)


@dataclass(frozen=True, slots=True)
class Map:
    """One map in one format.

    Attributes:
        quantizer: Whose codes it holds; "" where it is real.
        first_channel: The quantizer's channel that is the map's first.
    """

    shape: ops.Shape
    form: Form = REAL_FORM
    quantizer: str = REAL
    first_channel: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """One kernel to run.

    Attributes:
        node: The graph's node it belongs to, which also names its arrays.
        inputs: Maps it reads as operands.
        targets: Maps it writes: one result in several formats.
        residual: A map added before the activation.
        first_tap: Row and column of the node's weights that the operator's begin at.
    """

    operator: ops.Operator | Copy | InputCodes
    node: str
    inputs: tuple[MapKey, ...]
    targets: tuple[MapKey, ...]
    activation: Activation = "none"
    residual: MapKey | None = None
    first_tap: ops.Size = (0, 0)

    @property
    def reads(self) -> tuple[MapKey, ...]:
        return self.inputs if self.residual is None else (*self.inputs, self.residual)


@dataclass(slots=True)
class Schedule:
    """The works of one network in an order in which they can run.

    Attributes:
        maps: Every map.
        views: Maps that are some channels of another: which one, and the first channel.
        output: The map that the network gives.
    """

    graph: Graph
    maps: dict[MapKey, Map] = field(default_factory=dict)
    views: dict[MapKey, tuple[MapKey, int]] = field(default_factory=dict)
    works: list[Work] = field(default_factory=list)
    output: MapKey = INPUT_MAP


def make_schedule(graph: Graph, lanes: int) -> Schedule:
    """Returns the works of a deployed graph for vectors of so many lanes.

    Raises:
        UnsupportedOperatorError: If a node reads a format that it has no kernel for.
    """
    return Scheduler(share_joins(push_activations(graph)), lanes).run()


class Scheduler:
    """One graph being scheduled."""

    def __init__(self, graph: Graph, lanes: int) -> None:
        self.graph, self.lanes = graph, lanes
        self.formats = Formats(graph)
        self.made = Schedule(graph)
        # What is read first tells where in its quantizer's channels a map begins.
        self.first_channels = self.find_first_channels()

    def run(self) -> Schedule:
        self.plan_input()
        kernels = {kernel.output: kernel for kernel in fuse(self.graph)}
        for node in self.graph.nodes:
            operator = node.operator
            if isinstance(operator, ops.Quantize):
                self.plan_quantize(node)
            elif isinstance(operator, ops.ChannelSplit | ops.Dropout):
                self.plan_view(node)
            elif only_moves(operator):
                self.plan_move(node)
            elif node.name in kernels:
                self.plan_kernel(kernels[node.name])
        self.made.output = self.as_real(self.graph.output.name)
        return self.made

    # Maps

    def own(self, name: str) -> MapKey:
        """A node's map as the node itself gives it."""
        return MapKey(name, self.formats.native[name] or REAL)

    def key(self, name: str, wish: str) -> MapKey:
        """A node's map in a format."""
        quantized = wish != REAL and self.graph.node(wish).inputs[0] == name
        return MapKey(wish if quantized else name, wish)

    def add_map(self, name: str, wish: str) -> MapKey:
        """Makes a map in a format, and returns its key."""
        made = self.key(name, wish)
        shape = self.graph.shapes[name]
        if wish == REAL:
            self.made.maps[made] = Map(shape)
        else:
            quantizer = self.formats.quantizer(wish)
            form = form_of(quantizer, packed=quantizer.bits <= PACKED_BITS)
            first = self.first_channels.get((name, wish), 0)
            self.made.maps[made] = Map(shape, form, wish, first)
        return made

    def add_work(
        self,
        operator: ops.Operator | Copy | InputCodes,
        node: str,
        inputs: Iterable[MapKey],
        *targets: MapKey,
    ) -> None:
        self.made.works.append(Work(operator, node, tuple(inputs), targets))

    def find_first_channels(self) -> dict[tuple[str, str], int]:
        """Where the channels of maps that are written for a quantizer behind them begin in it."""
        first: dict[tuple[str, str], int] = {}
        for node in reversed(self.graph.nodes):
            if isinstance(node.operator, ops.Quantize):
                first[node.inputs[0], node.name] = 0
            if not only_moves(node.operator) or self.formats.native[node.name]:
                continue
            for wish in self.formats.kept[node.name]:
                if wish == REAL or not self.formats.carries(node, wish):
                    continue
                channel = first.get((node.name, wish), 0)
                for name in node.inputs:
                    place = (name, wish)
                    signs = self.formats.quantizer(wish).bits == 1
                    if signs and first.get(place, channel) != channel:
                        raise UnsupportedOperatorError(
                            f"{node.name}: joins {name} twice, at different channels of the norm "
                            f"of {wish}; there is no kernel for that"
                        )
                    first[place] = channel
                    if isinstance(node.operator, ops.Concat):
                        channel += self.graph.shapes[name][0]
        return first

    def as_real(self, name: str) -> MapKey:
        """A node's map as real numbers; codes are turned into them once."""
        real = MapKey(name)
        if self.formats.native[name] and real not in self.made.maps:
            self.add_work(Copy(), name, (self.own(name),), self.add_map(name, REAL))
        return real

    # Nodes

    def plan_input(self) -> None:
        """The caller's tensor, and its codes where somebody quantizes it."""
        kept = self.formats.kept[INPUT]
        self.add_map(INPUT, REAL)
        for wish in kept:
            if wish == REAL:
                continue
            target = self.add_map(INPUT, wish)
            few = self.graph.input_shape[0] <= MOST_PLANAR_CHANNELS
            if few and self.made.maps[target].form.kind == "codes":
                self.add_work(InputCodes(), wish, (), target)
            else:
                self.add_work(Copy(), wish, (INPUT_MAP,), target)

    def plan_quantize(self, node: Node) -> None:
        """Nothing where whoever makes the map writes the codes; a copy from other codes."""
        (source,) = node.inputs
        if self.formats.native[source]:
            target = self.add_map(node.name, node.name)
            self.add_work(Copy(), node.name, (self.own(source),), target)

    def plan_view(self, node: Node) -> None:
        """Some channels of the map it reads, in every format that allows to look at them."""
        (source,) = node.inputs
        first = node.operator.start if isinstance(node.operator, ops.ChannelSplit) else 0
        copied = []
        for wish in self.formats.kept[node.name]:
            if self.formats.carries(node, wish):
                base = self.as_real(source) if wish == REAL else self.key(source, wish)
                self.made.views[self.add_map(node.name, wish)] = (base, first)
            else:
                copied.append(wish)
        if copied:
            whole = self.own(node.name)
            if whole not in self.made.maps:
                self.made.views[self.add_map(node.name, REAL)] = (self.as_real(source), first)
            targets = [self.add_map(node.name, wish) for wish in copied]
            self.add_work(Copy(), node.name, (whole,), *targets)

    def plan_move(self, node: Node) -> None:
        """A concatenation, shuffle or max pooling: once for each format it can run in."""
        uncarried = []
        for wish in self.formats.kept[node.name]:
            if self.formats.carries(node, wish):
                target = self.add_map(node.name, wish)
                sources = [self.part(name, wish) for name in node.inputs]
                self.add_work(node.operator, node.name, sources, target)
            else:
                uncarried.append(wish)
        if not uncarried:
            return
        targets = [self.add_map(node.name, wish) for wish in uncarried]
        if isinstance(node.operator, ops.MaxPool):
            self.add_work(node.operator, node.name, map(self.own, node.inputs), *targets)
            return
        whole = self.own(node.name)
        if whole not in self.made.maps:
            self.add_map(node.name, REAL)
            sources = [self.as_real(name) for name in node.inputs]
            self.add_work(node.operator, node.name, sources, whole)
        self.add_work(Copy(), node.name, (whole,), *targets)

    def part(self, name: str, wish: str) -> MapKey:
        """The map that a node moves in a format; codes of another quantizer are converted."""
        native = self.formats.native[name]
        if wish == REAL:
            return self.as_real(name)
        made = self.key(name, wish)
        if native and native != wish and made not in self.made.maps:
            self.add_work(Copy(), name, (self.own(name),), self.add_map(name, wish))
        return made

    def plan_kernel(self, kernel: FusedKernel) -> None:
        """A node that computes: one work with all formats of the result as targets."""
        node, output = kernel.node, kernel.output
        operator = node.operator
        if isinstance(operator, ops.Conv2d | ops.Linear):
            coded = operator.precision.activations != "real"
            inputs = tuple(
                self.own(name) if coded and index == 0 else self.as_real(name)
                for index, name in enumerate(kernel.inputs)
            )
        else:
            inputs = tuple(map(self.own, kernel.inputs))
            if isinstance(operator, ops.AvgPool) and self.made.maps[inputs[0]].form.bits == 1:
                # The border of signs is -1, an average's 0.
                inputs = (self.as_real(inputs[0].node),)
            if isinstance(operator, ops.LocalResponseNorm) and not self.whole_bytes(inputs[0]):
                # Its vectors begin at any channel.
                inputs = (self.as_real(inputs[0].node),)
        residual = None if kernel.residual is None else self.own(kernel.residual)
        if residual is not None and self.made.maps[residual].form.kind == "planes":
            residual = self.as_real(residual.node)
        wishes = self.formats.kept[output]
        channels = self.graph.shapes[node.inputs[0]][0]
        direct = [wish for wish in wishes if self.can_write(operator, channels, wish)]
        later = [wish for wish in wishes if wish not in direct]
        if later and REAL not in direct:
            direct.append(REAL)
        targets = tuple(self.add_map(output, wish) for wish in direct)
        first_tap = (0, 0)
        if isinstance(operator, ops.Conv2d) and self.whole_bytes(inputs[0]):  # of zero padding
            maps = (self.graph.shapes[node.inputs[0]], node.shape)
            operator, first_tap = inner_window(operator, *((h, w) for _, h, w in maps))
        self.made.works.append(
            Work(operator, node.name, inputs, targets, kernel.activation, residual, first_tap)
        )
        if later:
            packed = [self.add_map(output, wish) for wish in later]
            self.add_work(Copy(), output, (self.own(output),), *packed)

    def whole_bytes(self, name: MapKey) -> bool:
        """Whether each number of a map has an address."""
        return self.made.maps[name].form.kind != "planes"

    def can_write(self, operator: ops.Operator, channels: int, wish: str) -> bool:
        """Whether a kernel's vectors of output channels begin where packed stores can."""
        if wish == REAL or self.formats.quantizer(wish).bits > PACKED_BITS:
            return True
        if not isinstance(operator, ops.Conv2d) or operator.groups == 1:
            return True
        if operator.is_depthwise(channels):
            return True
        return packable(operator.out_channels // operator.groups, self.lanes)
