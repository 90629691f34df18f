"""Quantizers: the nodes that low-bit layers ask for, added to a graph.

A block only says the precision of its convolutions; what they read is made explicit here, so that
training, costs, kernels and export see the same codes:

* a low-bit layer reads a ``Quantize`` of its map; layers of equal bits share one;
* sums, means, gates, lone activations and norms over channels read 8 bits of a map that a layer of
  two or more bits reads or makes, so that no float map travels between low-bit layers; a map
  between binary layers stays real, the real shortcut of Liu et al., "Bi-Real Net", ECCV 2018,
  https://arxiv.org/abs/1808.00278;
* an 8-bit layer that reads some channels of a map quantizes the whole map, and all who read parts
  of it read the same codes;
* a layer of precision xnor_k reads the map K as well: ``Magnitude`` and a mean over its window.
"""

from dataclasses import replace

from search_spaces.graphs import operators as ops
from search_spaces.graphs.activations import ACTIVATIONS
from search_spaces.graphs.fusion import activation_of, residual_sums
from search_spaces.graphs.graph import INPUT, Graph, Node

KEEPS_SIGN = (
    *(ops.MaxPool, ops.AvgPool, ops.GlobalAvgPool, ops.ChannelShuffle, ops.ChannelSplit),
    *(ops.Dropout, ops.Concat, ops.Add, ops.Scale, ops.LocalResponseNorm),
)
# What reads codes beside low-bit layers, in 8 bits.
READS_CODES = (
    *(ops.Activate, ops.Add, ops.AvgPool, ops.GlobalAvgPool, ops.LayerNorm),
    *(ops.LocalResponseNorm, ops.Scale),
)
RESIDUAL_BITS = 8
# What passes on what integer layers made.
PASSES_ON = (
    *(ops.Activate, ops.Add, ops.AvgPool, ops.BatchNorm, ops.ChannelShuffle, ops.Concat),
    *(ops.LayerNorm, ops.LocalResponseNorm, ops.MaxPool),
)


def add_quantizers(graph: Graph) -> Graph:
    """Returns ``graph`` with a quantizer wherever a low-bit layer reads a map without one.

    Raises:
        ValueError: If a low-bit layer reads codes of other bits than its own.
    """
    return _Insertion(graph).run()


def without_quantizers(graph: Graph) -> Graph:
    """Returns ``graph`` as its blocks wrote it, before quantizers were added."""
    same: dict[str, str] = {}
    nodes = []
    made = {
        name
        for node in graph.nodes
        if isinstance(node.operator, ops.Conv2d) and node.operator.precision.magnitude_map
        for name in node.inputs[1:]
    }
    for node in graph.nodes:
        if isinstance(node.operator, ops.Quantize):
            same[node.name] = same.get(node.inputs[0], node.inputs[0])
        elif node.name not in made and not isinstance(node.operator, ops.Magnitude):
            inputs = tuple(same.get(name, name) for name in node.inputs if name not in made)
            nodes.append(replace(node, inputs=inputs))
    return Graph(graph.input_shape, tuple(nodes))


def is_low_bit(node: Node) -> bool:
    """Whether a node computes on coded maps."""
    does = node.operator
    return isinstance(does, ops.Conv2d | ops.Linear) and does.precision.activations != "real"


class _Insertion:
    """One graph being rewritten."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        # Read from the last node to the first: what each map is quantized to, by bits.
        self.bits: dict[str, set[int]] = {name: set() for name in graph.shapes}
        self.coded = {n.name for n in graph.nodes if isinstance(n.operator, ops.Quantize)}
        self.whole = whole_maps(graph)
        self.nonnegative = nonnegative_maps(graph)
        self.nodes: list[Node] = []
        self.shapes: dict[str, ops.Shape] = {INPUT: graph.input_shape}

    def run(self) -> Graph:
        for node in filter(is_low_bit, self.graph.nodes):
            self.check_codes(node)
        readers = [n for n in self.graph.nodes if is_low_bit(n) and not self.has_quantizer(n)]
        if not readers:
            return self.graph
        for node in readers:
            self.bits[self.quantized_map(node)].add(bits_of(node))
        taken_in = {node.name for _, node in residual_sums(self.graph)}
        integer = self.integer_maps()
        for node in self.graph.nodes:
            if isinstance(node.operator, READS_CODES):
                for name in node.inputs:
                    if name not in taken_in and name in integer:
                        self.bits[name].add(RESIDUAL_BITS)
        self.add_after(INPUT)
        for node in self.graph.nodes:
            inputs = tuple(self.source(node, name) for name in node.inputs)
            inputs += self.factor(node)
            self.put(replace(node, inputs=inputs))
            self.add_after(node.name)
        return Graph(self.graph.input_shape, tuple(self.nodes))

    def integer_maps(self) -> set[str]:
        """The maps that layers of two or more bits read, or made all of."""
        found = {name for name, bits in self.bits.items() if any(each > 1 for each in bits)}
        for node in self.graph.nodes:
            if isinstance(node.operator, PASSES_ON):
                if found.issuperset(node.inputs):
                    found.add(node.name)
            elif is_low_bit(node) and bits_of(node) > 1:
                found.add(node.name)
        return found

    def has_quantizer(self, node: Node) -> bool:
        return self.whole[node.inputs[0]] in self.coded

    def check_codes(self, node: Node) -> None:
        """Makes sure that a layer reads codes of its own bits, where it reads codes already."""
        name = self.whole[node.inputs[0]]
        if name not in self.coded:
            return
        operator = self.graph.node(name).operator
        assert isinstance(operator, ops.Quantize)
        if operator.bits != bits_of(node):
            raise ValueError(
                f"{node.name}: it reads {bits_of(node)}-bit codes and {name} makes "
                f"{operator.bits}-bit ones; give the quantizer {bits_of(node)} bits, or let the "
                "layer read the map before it"
            )

    def quantized_map(self, node: Node) -> str:
        """The map whose codes a layer reads: the whole one, where 8 bits read a part."""
        name = node.inputs[0]
        return self.whole[name] if bits_of(node) == RESIDUAL_BITS else name

    def source(self, node: Node, name: str) -> str:
        """What ``node`` reads in place of the map ``name``."""
        if is_low_bit(node) and not self.has_quantizer(node) and self.quantized_map(node) == name:
            return f"{name}.q{bits_of(node)}"
        reads_codes = isinstance(node.operator, (*READS_CODES, ops.ChannelSplit))
        if reads_codes and RESIDUAL_BITS in self.bits[name]:
            return f"{name}.q{RESIDUAL_BITS}"
        return name

    def add_after(self, name: str) -> None:
        """Adds the quantizers of a map that was just made."""
        for bits in sorted(self.bits[name], reverse=True):
            signed = name not in self.nonnegative
            quantize = ops.Quantize(bits, signed) if bits > 1 else ops.Quantize(1, norm="batch")
            self.put(Node(f"{name}.q{bits}", quantize, (name,), self.shapes[name]))

    def factor(self, node: Node) -> tuple[str, ...]:
        """Adds the nodes that make a layer's magnitude map, and returns its name."""
        operator = node.operator
        if not isinstance(operator, ops.Conv2d) or not operator.precision.magnitude_map:
            return ()
        if len(node.inputs) == 2:
            return ()
        mean = ops.Magnitude()
        window = window_of(operator)
        shape = mean.output_shape(self.shapes[node.inputs[0]])
        self.put(Node(f"{node.name}.magnitude", mean, node.inputs, shape))
        inputs = (f"{node.name}.magnitude",)
        self.put(Node(f"{node.name}.window", window, inputs, window.output_shape(shape)))
        return (f"{node.name}.window",)

    def put(self, node: Node) -> None:
        self.nodes.append(node)
        self.shapes[node.name] = node.shape


def window_of(operator: ops.Conv2d) -> ops.AvgPool:
    """Returns the mean over the windows of a convolution."""
    does = operator
    return ops.AvgPool(does.kernel_size, does.stride, does.pads, end_padding=does.end_padding)


def bits_of(node: Node) -> int:
    assert isinstance(node.operator, ops.Conv2d | ops.Linear)
    return node.operator.precision.activation_bits


def is_view(node: Node) -> bool:
    return isinstance(node.operator, ops.ChannelSplit)


def whole_maps(graph: Graph) -> dict[str, str]:
    """Returns for every map the one whose channels it shows: itself, unless it is a view."""
    whole = {INPUT: INPUT}
    for node in graph.nodes:
        whole[node.name] = whole[node.inputs[0]] if is_view(node) else node.name
    return whole


def nonnegative_maps(graph: Graph) -> set[str]:
    """Returns the maps without negative values, as far as operators alone tell.

    Each node is looked at once, as maps may be read by several that come together again.
    """
    found: set[str] = set()
    for node in graph.nodes:
        if is_nonnegative(node, found):
            found.add(node.name)
    return found


def is_nonnegative(node: Node, nonnegative: set[str]) -> bool:
    operator = node.operator
    if isinstance(operator, ops.Magnitude):
        return True
    if isinstance(operator, ops.Quantize):
        return operator.lowest == 0
    activation = activation_of(operator)
    if ACTIVATIONS[activation].nonnegative:
        return True
    if not isinstance(operator, KEEPS_SIGN) or activation != "none":
        return False
    return nonnegative.issuperset(node.inputs)
