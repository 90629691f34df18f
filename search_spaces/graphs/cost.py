"""Cost: what one inference needs, counted kernel by kernel from the graph alone.

* parameters: learned numbers (weights, biases, norm scale and shift; not running statistics);
* MACs: multiply-accumulates of convolutions and linear layers, one per weight use;
  of a sparse layer both count the weights that are kept;
* memory access: bytes that each kernel reads and writes, every operand once (ShuffleNet v2's MAC,
  Ma et al., ECCV 2018, https://arxiv.org/abs/1807.11164, section 2, in bytes instead of elements);
* weight bytes: stored weights at their precision, biases, steps and scales in 4 bytes; of a sparse
  layer each kept weight's value and place, and the codebook;
* peak activation memory: the most bytes of maps that are alive at once.

Concatenation is free: its producers write into its map.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.formats import Formats
from search_spaces.graphs.fusion import FusedKernel, fuse
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.precision import FP32, Precision, Sparsity


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kernel, or a whole network, needs for one inference.

    Attributes:
        params: Learned numbers.
        macs: Multiply-accumulates.
        memory_access_bytes: Bytes read and written.
        weight_bytes: Bytes of stored weights.
    """

    params: int
    macs: int
    memory_access_bytes: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class NetworkCost(Cost):
    """The sum over kernels, and the peak of activation memory in bytes."""

    peak_activation_bytes: int


def conv2d_macs(op: ops.Conv2d, inputs: tuple[ops.Shape, ...], output: ops.Shape) -> int:
    kernel = op.kernel_size[0] * op.kernel_size[1] * (inputs[0][0] // op.groups)
    return kernel * prod(output)


def linear_macs(op: ops.Linear, inputs: tuple[ops.Shape, ...], output: ops.Shape) -> int:
    macs = prod(inputs[0]) * op.out_features
    return macs if op.sparsity is None else op.sparsity.kept(macs)


def no_macs(op: ops.Operator, inputs: tuple[ops.Shape, ...], output: ops.Shape) -> int:
    """Element-wise and pooling operators multiply and accumulate nothing."""
    return 0


MACS: dict[type, Callable[[Any, tuple[ops.Shape, ...], ops.Shape], int]] = {
    ops.Conv2d: conv2d_macs,
    ops.Linear: linear_macs,
    **dict.fromkeys(
        (
            *(ops.Add, ops.Concat, ops.ChannelSplit, ops.ChannelShuffle, ops.Scale, ops.Activate),
            *(ops.MaxPool, ops.AvgPool, ops.GlobalAvgPool, ops.Dropout, ops.Quantize),
            *(ops.Magnitude, ops.BatchNorm, ops.LayerNorm, ops.LocalResponseNorm),
        ),
        no_macs,
    ),
}


def kernel_costs(graph: Graph) -> tuple[tuple[FusedKernel, Cost], ...]:
    """Returns every kernel of ``graph`` with its cost.

    Raises:
        UnsupportedOperatorError: If an operator has no count; it is never taken as zero.
    """
    formats = Formats(graph)
    return tuple((kernel, kernel_cost(graph, formats, kernel)) for kernel in fuse(graph))


def kernel_cost(graph: Graph, formats: Formats, kernel: FusedKernel) -> Cost:
    node = kernel.node
    if type(node.operator) not in MACS:
        name = ops.OPERATOR_NAMES.get(type(node.operator), type(node.operator).__name__)
        raise UnsupportedOperatorError(f"no cost is known for operator {name!r} ({node.name})")
    inputs = graph.input_shapes(node)
    joined = [graph.node(name) for name in kernel.quantizers]
    norm = [] if kernel.norm is None else [graph.node(kernel.norm)]
    weights = sum(weight_bytes(graph, each) for each in (node, *joined))
    if norm and not has_term(graph, node):
        weights += 4 * node.shape[0]
    return Cost(
        params=sum(count_node_params(graph, each) for each in (node, *norm, *joined)),
        macs=MACS[type(node.operator)](node.operator, inputs, node.shape),
        memory_access_bytes=0
        if written_in_place(kernel)
        else weights + map_bytes(formats, kernel),
        weight_bytes=weights,
    )


def written_in_place(kernel: FusedKernel) -> bool:
    return isinstance(kernel.operator, ops.Concat) and kernel.activation == "none"


def count_node_params(graph: Graph, node: Node) -> int:
    shapes = node.operator.array_shapes(*graph.input_shapes(node))
    sparsity = sparsity_of_node(node)
    return sum(
        sparsity.kept(prod(shape)) if sparsity and name == "weight" else prod(shape)
        for name, shape in shapes.items()
        if name not in ("norm.mean", "norm.variance")
    )


def sparsity_of_node(node: Node) -> Sparsity | None:
    return node.operator.sparsity if isinstance(node.operator, ops.Linear) else None


def weight_bytes(graph: Graph, node: Node) -> int:
    """Returns the stored bytes of a node as deployed: weights packed, then 4-byte numbers.

    A batch norm is folded, so it leaves one bias per channel. Coded weights have a 4-byte scale
    per output channel; a quantizer has its step, or a factor and a term per channel, as a norm
    on its own has.
    """
    shapes = node.operator.array_shapes(*graph.input_shapes(node))
    if isinstance(node.operator, ops.BatchNorm | ops.LayerNorm):
        return 4 * 2 * node.shape[0]
    if isinstance(node.operator, ops.Quantize):
        normed = node.operator.norm != "none"
        return 4 * (2 * node.shape[0] * normed if node.operator.bits == 1 else 1)
    if "weight" not in shapes:
        return 0
    precision = precision_of(node.operator)
    outputs = shapes["weight"][0]
    has_bias = has_term(graph, node)
    scales = 0 if precision.weights == "real" else 4 * outputs
    sparsity, size = sparsity_of_node(node), prod(shapes["weight"])
    stored = sparsity.stored_bytes(size) if sparsity else -(-size * precision.weight_bits // 8)
    return stored + 4 * outputs * has_bias + scales


def has_term(graph: Graph, node: Node) -> bool:
    """Whether a layer, as deployed, adds a number to each channel."""
    shapes = node.operator.array_shapes(*graph.input_shapes(node))
    return "bias" in shapes or "norm.bias" in shapes


def precision_of(operator: ops.Operator) -> Precision:
    precision: Precision = getattr(operator, "precision", FP32)
    return precision


def map_bytes(formats: Formats, kernel: FusedKernel) -> int:
    """Bytes of the maps that a kernel reads and writes, each in the formats it is kept in."""
    residual = () if kernel.residual is None else (kernel.residual,)
    read = sum(formats.read_bytes(kernel.node, name) for name in (*kernel.inputs, *residual))
    return read + formats.map_bytes(kernel.output)


def peak_activation_bytes(graph: Graph) -> int:
    """Returns the most bytes of maps alive while some kernel runs, its inputs and output included.

    Views and concatenated parts share the map they lie in.
    """
    formats = Formats(graph)
    home = map_homes(graph, formats)
    kernels = fuse(graph)
    first: dict[str, int] = {INPUT: -1}
    last: dict[str, int] = {INPUT: 0}
    for step, kernel in enumerate(kernels):
        reads = (*kernel.inputs, *(() if kernel.residual is None else (kernel.residual,)))
        for name in (*reads, kernel.output):
            where = home[name]
            first.setdefault(where, step)
            last[where] = step
    last[home[graph.output.name]] = len(kernels)
    sizes = {name: formats.map_bytes(name) for name in first}
    return max(
        sum(sizes[name] for name in first if first[name] <= step <= last[name])
        for step in range(len(kernels))
    )


def map_homes(graph: Graph, formats: Formats) -> dict[str, str]:
    """Returns for every map the map whose memory it lies in: itself, unless it is a view."""
    home = {name: name for name in graph.shapes}
    placed: set[str] = set()
    for node in graph.nodes:
        does = node.operator
        coded_by_maker = isinstance(does, ops.Quantize) and not formats.native[node.inputs[0]]
        if isinstance(does, ops.Dropout | ops.ChannelSplit) or coded_by_maker:
            home[node.name] = home[node.inputs[0]]
        elif isinstance(node.operator, ops.Concat) and node.operator.activation == "none":
            for name in node.inputs:
                if name not in placed and home[name] == name and name != INPUT:
                    home[name] = node.name
                    placed.add(name)
    return {name: root(home, name) for name in home}


def root(home: dict[str, str], name: str) -> str:
    while home[name] != name:
        name = home[name]
    return name


def count_macs(graph: Graph) -> int:
    """Returns the multiply-accumulates of one inference."""
    return sum(cost.macs for _, cost in kernel_costs(graph))


def count_params(graph: Graph) -> int:
    """Returns the number of learned parameters."""
    return sum(count_node_params(graph, node) for node in graph.nodes)


def network_cost(graph: Graph) -> NetworkCost:
    """Returns the cost of one inference of ``graph``."""
    costs = [cost for _, cost in kernel_costs(graph)]
    sums = {item.name: sum(getattr(cost, item.name) for cost in costs) for item in fields(Cost)}
    return NetworkCost(**sums, peak_activation_bytes=peak_activation_bytes(graph))
