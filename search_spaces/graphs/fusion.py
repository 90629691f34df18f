"""Fusion: which nodes of a graph run together as one kernel.

The rules are the same for every back end that fuses, so that costs, latency tables and compiled
code speak of the same kernels:

* an ``Add`` whose second operand is a convolution or linear node that nobody else reads, and that
  has no activation of its own, joins that kernel as its residual;
* dropout is nothing at inference, and a channel split is a view of its input: neither is a kernel;
* a quantizer joins the kernel that makes its map, unless that is the input, a view or codes.
"""

from dataclasses import dataclass

from search_spaces.graphs import operators as ops
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.graph import INPUT, Graph, Node


@dataclass(frozen=True, slots=True)
class FusedKernel:
    """One kernel of a network.

    Attributes:
        node: The node that gives the kernel its name, arrays and operator.
        output: Name of the map it writes: the node's own, or that of the sum it took in.
        inputs: Maps it reads as operands of the operator (views resolved no further than names).
        residual: The map added before the activation, where a sum was taken in.
        activation: What is applied last; "none" where the operator has no activation.
        shape: Shape of what it writes.
        quantizers: Quantizers that run at its end.
    """

    node: Node
    output: str
    inputs: tuple[str, ...]
    residual: str | None
    activation: Activation
    shape: ops.Shape
    quantizers: tuple[str, ...] = ()

    @property
    def operator(self) -> ops.Operator:
        return self.node.operator


def fuse(graph: Graph) -> tuple[FusedKernel, ...]:
    """Returns the kernels of ``graph`` in an order in which they can run.

    A sum runs where it stood, after both of its operands.
    """
    taken_in = {node.name: sum_node for sum_node, node in residual_sums(graph)}
    sums = {sum_node.name: node for sum_node, node in residual_sums(graph)}
    kernels = []
    joined = joined_quantizers(graph)
    in_kernels = {name for names in joined.values() for name in names}
    for node in graph.nodes:
        if isinstance(node.operator, ops.Dropout | ops.ChannelSplit) or node.name in taken_in:
            continue
        if node.name in in_kernels:
            continue
        quantizers = joined.get(node.name, ())
        if node.name in sums:
            work = sums[node.name]
            (residual,) = (name for name in node.inputs if name != work.name)
            activation = activation_of(node.operator)
            kernels.append(
                FusedKernel(
                    work, node.name, work.inputs, residual, activation, node.shape, quantizers
                )
            )
        else:
            activation = activation_of(node.operator)
            kernels.append(
                FusedKernel(node, node.name, node.inputs, None, activation, node.shape, quantizers)
            )
    return tuple(kernels)


def joined_quantizers(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Returns, for each map that has any, the quantizers that its own kernel runs."""
    joined: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if not isinstance(node.operator, ops.Quantize) or node.inputs[0] == INPUT:
            continue
        (name,) = node.inputs
        does = graph.node(name).operator
        if not isinstance(does, ops.ChannelSplit | ops.Dropout | ops.Quantize):
            joined[name] = (*joined.get(name, ()), node.name)
    return joined


def residual_sums(graph: Graph) -> list[tuple[Node, Node]]:
    """Returns each sum that joins a kernel, with the convolution or linear node it joins."""
    pairs = []
    for node in graph.nodes:
        if not isinstance(node.operator, ops.Add) or node.inputs[0] == node.inputs[1]:
            continue
        for name in reversed(node.inputs):
            if name != INPUT and can_take_in(graph, graph.node(name)):
                pairs.append((node, graph.node(name)))
                break
    return pairs


def can_take_in(graph: Graph, node: Node) -> bool:
    return (
        isinstance(node.operator, ops.Conv2d | ops.Linear)
        and node.operator.activation == "none"
        and len(graph.consumers[node.name]) == 1
    )


def activation_of(operator: ops.Operator) -> Activation:
    activation: Activation = getattr(operator, "activation", "none")
    return activation
