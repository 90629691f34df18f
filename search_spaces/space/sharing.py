"""Sharing: one set of arrays for all networks of a space, each of which reads windows of them.

*Source:* the first channels of a layer and the centre of a kernel as a smaller one's weights are
those of Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
ICLR 2020, https://arxiv.org/abs/1908.09791, section 3.3; one set of weights for each block of
a place is that of Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform
Sampling", ECCV 2020, https://arxiv.org/abs/1904.00420, section 3.
*Differs from the papers:* nothing is stated for single blocks. What may share follows from the
graph and its genes, so every block and every space shares without a line of its own. Kernels
are cut without a learnt transformation.

An array of a network belongs to a *key*: its place, the block that was picked there, its node and
its name inside, and what else keeps weights apart:

* ``groups`` of a convolution, and whether it is depthwise: channels mean other things;
* ``reads``: the layers of the same block that made what it reads, or whatever is outside: a
  classifier behind the head's convolution is another than one behind the last stage;
* ``linear``: whether an activation follows; the two halves of a residual block want other weights;
* ``signs``: weights behind a sign have no size;
* ``precision`` of norms, biases and steps, which cost next to nothing;
* ``kernel`` where it is dilated, or of even size, which has no centre among odd ones;
* ``map``: height and width that a linear layer reads.

Statistics of batch norms are shared by nobody: each network's are its own.

Shape letters: C channels, H and W spatial size, O output channels, G groups.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.precision import FP32
from search_spaces.quantization.codes import is_coded
from search_spaces.space.space import Architecture

BLOCK = "block"  # the last part of the choice that says which block stands in a place
OUTSIDE = "outside"
STATISTICS = ("norm.mean", "norm.variance")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What one shared array is of.

    Attributes:
        place: Prefix of the node's name for which a block was picked; "" elsewhere.
        block: The block that was picked there; "" elsewhere.
        array: The node's name inside the place, and the array's.
        apart: What else keeps it apart, by the names above.
    """

    place: str
    block: str
    array: str
    apart: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Returns the name that the array has in files."""
        inside = f"{self.place}/{self.block}/{self.array}" if self.block else self.array
        return "?".join((inside, *("=".join(pair) for pair in self.apart)))


@dataclass(frozen=True, slots=True)
class Role:
    """What an array does, as far as its first values and its training depend on it.

    Attributes:
        is_weight: Whether it is multiplied with what a layer reads.
        is_step: Whether it is the step of a quantizer or of weights; zero until it is told.
        is_gain: Whether it multiplies what a norm gives.
        activated: Whether an activation follows its layer.
        normed: Whether its layer's own norm removes its scale.
        signs: Whether only its signs are used.
        last: Whether its layer gives the network's output.
    """

    is_weight: bool
    is_step: bool
    is_gain: bool
    activated: bool
    normed: bool
    signs: bool
    last: bool


@dataclass(frozen=True, slots=True)
class SharedWindow:
    """Where an array of a network lies in the shared one.

    Attributes:
        folded: Its shape as stored: weights of grouped convolutions (G, O / G, C / G, kh, kw)
            and linear ones (O, C, H * W), others as they are.
        centred: How many of the last axes are cut around their centre; others keep the first.
    """

    key: Key
    folded: tuple[int, ...]
    centred: int
    role: Role

    def slices(self, shared: tuple[int, ...]) -> tuple[slice, ...]:
        """Returns what of an array of the shape ``shared`` is the network's."""
        first = len(shared) - self.centred
        starts = [
            (whole - own) // 2 if axis >= first else 0
            for axis, (whole, own) in enumerate(zip(shared, self.folded, strict=True))
        ]
        return tuple(
            slice(start, start + own) for start, own in zip(starts, self.folded, strict=True)
        )

    def fits(self, shared: tuple[int, ...]) -> bool:
        return all(own <= whole for own, whole in zip(self.folded, shared, strict=True))


def windows_of(architecture: Architecture) -> dict[str, SharedWindow]:
    """Returns the window of every array of the network that is shared, by the array's name."""
    graph = architecture.graph
    blocks = blocks_of(architecture)
    sources = sources_of(graph, blocks)
    return {
        f"{node.name}.{name}": window
        for node in graph.nodes
        for name, window in node_windows(graph, node, blocks, sources[node.name])
    }


def blocks_of(architecture: Architecture) -> dict[str, str]:
    """Returns the block that was picked for each place, by the place's name."""
    return {
        name.removesuffix(f".{BLOCK}"): str(value)
        for name, value in architecture.genes
        if name.endswith(f".{BLOCK}")
    }


def place_of(name: str, blocks: Mapping[str, str]) -> str:
    """Returns the innermost place that a node stands in, or "" outside of all."""
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return next((prefix for prefix in prefixes if prefix in blocks), "")


def scope_of(name: str, blocks: Mapping[str, str]) -> str:
    """Returns within what a node's sources are told apart: its place, else its own scope."""
    return place_of(name, blocks) or name.rpartition(".")[0]


def sources_of(graph: Graph, blocks: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Returns for each node which layers of its own scope made the channels that it reads.

    What was made elsewhere is `OUTSIDE`; a part of a map that does not begin with its first
    channel has a ``'`` behind it.
    """
    made: dict[str, tuple[str, frozenset[str]]] = {INPUT: ("", frozenset({OUTSIDE}))}
    found = {}
    for node in graph.nodes:
        scope = scope_of(node.name, blocks)
        found[node.name] = frozenset(
            source
            for name in channel_inputs(node)
            for there, sources in (made[name],)
            for source in (sources if there == scope else {OUTSIDE})
        )
        made[node.name] = scope, made_by(graph, node, scope, found[node.name])
    return found


def channel_inputs(node: Node) -> tuple[str, ...]:
    """Returns the maps whose channels a node reads; gates and magnitudes only scale them."""
    is_scaled = isinstance(node.operator, ops.Scale | ops.Conv2d)
    return node.inputs[:1] if is_scaled else node.inputs


def made_by(graph: Graph, node: Node, scope: str, read: frozenset[str]) -> frozenset[str]:
    operator = node.operator
    if isinstance(operator, ops.ChannelSplit) and operator.start:
        return frozenset(f"{source}'" for source in read)
    mixes = isinstance(operator, ops.Linear) or (
        isinstance(operator, ops.Conv2d) and not is_depthwise(graph, node)
    )
    return frozenset({node.name.removeprefix(f"{scope}.")}) if mixes else read


def is_depthwise(graph: Graph, node: Node) -> bool:
    operator = node.operator
    return isinstance(operator, ops.Conv2d) and operator.is_depthwise(
        graph.shapes[node.inputs[0]][0]
    )


def node_windows(
    graph: Graph, node: Node, blocks: Mapping[str, str], sources: frozenset[str]
) -> Iterator[tuple[str, SharedWindow]]:
    operator, place = node.operator, place_of(node.name, blocks)
    inside = node.name.removeprefix(f"{place}.") if place else node.name
    apart = layer_apart(graph, node, sources)
    for name, shape in operator.array_shapes(*graph.input_shapes(node)).items():
        if name in STATISTICS:
            continue
        key = Key(place, blocks.get(place, ""), f"{inside}.{name}")
        key = replace(key, apart=apart + array_apart(operator, name))
        folded, centred = folded_shape(graph, node, name, shape)
        yield name, SharedWindow(key, folded, centred, role_of(graph, node, name))


def layer_apart(graph: Graph, node: Node, sources: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Returns what keeps all arrays of a node apart from those of its namesakes."""
    operator = node.operator
    if not isinstance(operator, ops.Conv2d | ops.Linear):
        return ()
    found = {"reads": "+".join(sorted(sources))}
    if operator.activation == "none":
        found["linear"] = "yes"
    if isinstance(operator, ops.Conv2d):
        if operator.groups > 1:
            depthwise = is_depthwise(graph, node)
            found["groups"] = "depthwise" if depthwise else str(operator.groups)
        if operator.dilation != (1, 1) or any(side % 2 == 0 for side in operator.kernel_size):
            even = ["x" if side % 2 else str(side) for side in operator.kernel_size]
            found["kernel"] = ",".join((*even, *map(str, operator.dilation)))
    elif (size := graph.shapes[node.inputs[0]][1:]) != (1, 1):
        found["map"] = "x".join(map(str, size))
    return tuple(sorted(found.items()))


def array_apart(operator: ops.Operator, name: str) -> tuple[tuple[str, str], ...]:
    """Returns what keeps one array apart beyond that: signs, or the precision around it."""
    if isinstance(operator, ops.Quantize):
        return (("precision", f"{operator.bits}{'s' if operator.signed else 'u'}"),)
    precision = getattr(operator, "precision", FP32)
    if name == "weight":
        return (("signs", "yes"),) if precision.weights == "sign" else ()
    return () if precision == FP32 else (("precision", str(precision)),)


def folded_shape(
    graph: Graph, node: Node, name: str, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    """Returns an array's shape as it is stored, and how many of its last axes are centred."""
    operator = node.operator
    if name != "weight":
        return shape, 0
    if isinstance(operator, ops.Linear):
        channels, height, width = graph.shapes[node.inputs[0]]
        return (shape[0], channels, height * width), 0
    if not isinstance(operator, ops.Conv2d):
        return shape, 0
    groups = operator.groups
    if groups == 1 or is_depthwise(graph, node):
        return shape, 2
    return (groups, shape[0] // groups, *shape[1:]), 2


def role_of(graph: Graph, node: Node, name: str) -> Role:
    operator = node.operator
    layer = isinstance(operator, ops.Conv2d | ops.Linear)
    return Role(
        is_weight=layer and name == "weight",
        is_step=name.rpartition(".")[2] == "step",
        is_gain=name in ("norm.weight", "gain"),
        activated=getattr(operator, "activation", "none") != "none",
        normed=getattr(operator, "norm", "none") == "batch",
        signs=layer and is_coded(node) and getattr(operator, "precision").weights == "sign",  # noqa: B009
        last=node is last_layer(graph),
    )


def last_layer(graph: Graph) -> Node:
    """Returns the last node that has weights."""
    layers = (n for n in reversed(graph.nodes) if isinstance(n.operator, ops.Conv2d | ops.Linear))
    return next(layers)


def num_numbers(shapes: Mapping[Key, tuple[int, ...]]) -> int:
    return sum(map(prod, shapes.values()))
