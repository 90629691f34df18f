"""Cost: what one inference needs, counted kernel by kernel from the graph alone.

* parameters: learned numbers (weights, biases, norm scale and shift; not running statistics);
* MACs: multiply-accumulates of convolutions and linear layers, one per weight use;
* memory access: bytes that each kernel reads and writes, every operand once (ShuffleNet v2's MAC,
  Ma et al., ECCV 2018, https://arxiv.org/abs/1807.11164, section 2, in bytes instead of elements);
* weight bytes: stored weights at their precision, biases and scales in 4 bytes;
* peak activation memory: the most bytes of maps that are alive at once.

Concatenation is free: its producers write into its map.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from search_spaces.errors import UnsupportedOperatorError
from search_spaces.fusion import FusedKernel, fuse
from search_spaces.graph import INPUT, Graph, Node
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
    MaxPool,
    Operator,
    Scale,
    Shape,
)
from search_spaces.precision import FP32, Precision


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
class NetworkCost:
    """The sum over kernels, and the peak of activation memory in bytes."""

    params: int
    macs: int
    memory_access_bytes: int
    weight_bytes: int
    peak_activation_bytes: int


def conv2d_macs(op: Conv2d, inputs: tuple[Shape, ...], output: Shape) -> int:
    kernel = op.kernel_size[0] * op.kernel_size[1] * (inputs[0][0] // op.groups)
    return kernel * prod(output)


def linear_macs(op: Linear, inputs: tuple[Shape, ...], output: Shape) -> int:
    return prod(inputs[0]) * op.out_features


def no_macs(op: Operator, inputs: tuple[Shape, ...], output: Shape) -> int:
    """Element-wise and pooling operators multiply and accumulate nothing."""
    return 0


MACS: dict[type, Callable[[Any, tuple[Shape, ...], Shape], int]] = {
    Conv2d: conv2d_macs,
    Linear: linear_macs,
    Add: no_macs,
    Concat: no_macs,
    ChannelSplit: no_macs,
    ChannelShuffle: no_macs,
    Scale: no_macs,
    Activate: no_macs,
    MaxPool: no_macs,
    AvgPool: no_macs,
    GlobalAvgPool: no_macs,
    Dropout: no_macs,
}


def kernel_costs(graph: Graph) -> tuple[tuple[FusedKernel, Cost], ...]:
    """Returns every kernel of ``graph`` with its cost.

    Raises:
        UnsupportedOperatorError: If an operator has no count; it is never taken as zero.
    """
    return tuple((kernel, kernel_cost(graph, kernel)) for kernel in fuse(graph))


def kernel_cost(graph: Graph, kernel: FusedKernel) -> Cost:
    node = kernel.node
    if type(node.operator) not in MACS:
        name = OPERATOR_NAMES.get(type(node.operator), type(node.operator).__name__)
        raise UnsupportedOperatorError(f"no cost is known for operator {name!r} ({node.name})")
    inputs = graph.input_shapes(node)
    weights = weight_bytes(graph, node)
    return Cost(
        params=count_node_params(graph, node),
        macs=MACS[type(node.operator)](node.operator, inputs, node.shape),
        memory_access_bytes=0 if written_in_place(kernel) else weights + map_bytes(graph, kernel),
        weight_bytes=weights,
    )


def written_in_place(kernel: FusedKernel) -> bool:
    return isinstance(kernel.operator, Concat) and kernel.activation == "none"


def count_node_params(graph: Graph, node: Node) -> int:
    shapes = node.operator.array_shapes(*graph.input_shapes(node))
    return sum(
        prod(shape) for name, shape in shapes.items() if name not in ("norm.mean", "norm.variance")
    )


def weight_bytes(graph: Graph, node: Node) -> int:
    """Returns the stored bytes of a node as deployed: weights packed, then 4-byte biases.

    A batch norm is folded, so it leaves one bias per channel. Below 8 bits and for 8 bits a
    4-byte scale per output channel is stored too.
    """
    shapes = node.operator.array_shapes(*graph.input_shapes(node))
    if "weight" not in shapes:
        return 0
    bits = precision_of(node.operator).weight_bits
    outputs = shapes["weight"][0]
    has_bias = "bias" in shapes or "norm.bias" in shapes
    scales = 0 if bits == FP32.weight_bits else 4 * outputs
    return -(-prod(shapes["weight"]) * bits // 8) + 4 * outputs * has_bias + scales


def precision_of(operator: Operator) -> Precision:
    precision: Precision = getattr(operator, "precision", FP32)
    return precision


def map_bytes(graph: Graph, kernel: FusedKernel) -> int:
    """Bytes of the maps that a kernel reads (at its precision) and writes (4 bytes an element).

    A low-bit consumer is written to in its own format, which the precision of a map's reader
    decides; a map that several nodes read takes the widest.
    """
    read = sum(prod(graph.shapes[name]) * map_bits(graph, name) for name in kernel.inputs)
    if kernel.residual is not None:
        read += prod(graph.shapes[kernel.residual]) * map_bits(graph, kernel.residual)
    return -(-(read + prod(kernel.shape) * map_bits(graph, kernel.output)) // 8)


def map_bits(graph: Graph, name: str) -> int:
    """Returns the bits of one element of a map: the widest of what its readers take."""
    readers = graph.consumers[name]
    if not readers:
        return FP32.activation_bits
    return max(precision_of(reader.operator).activation_bits for reader in readers)


def peak_activation_bytes(graph: Graph) -> int:
    """Returns the most bytes of maps alive while some kernel runs, its inputs and output included.

    Views and concatenated parts share the map they lie in.
    """
    home = map_homes(graph)
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
    sizes = {name: -(-prod(graph.shapes[name]) * map_bits(graph, name) // 8) for name in first}
    return max(
        sum(sizes[name] for name in first if first[name] <= step <= last[name])
        for step in range(len(kernels))
    )


def map_homes(graph: Graph) -> dict[str, str]:
    """Returns for every map the map whose memory it lies in: itself, unless it is a view."""
    home = {name: name for name in graph.shapes}
    placed: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.operator, Dropout | ChannelSplit):
            home[node.name] = home[node.inputs[0]]
        elif isinstance(node.operator, Concat) and node.operator.activation == "none":
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
    return NetworkCost(
        params=sum(cost.params for cost in costs),
        macs=sum(cost.macs for cost in costs),
        memory_access_bytes=sum(cost.memory_access_bytes for cost in costs),
        weight_bytes=sum(cost.weight_bytes for cost in costs),
        peak_activation_bytes=peak_activation_bytes(graph),
    )
