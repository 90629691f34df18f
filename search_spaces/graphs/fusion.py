"""Fusion: which nodes of a graph run together as one kernel.

The rules are the same for every back end that fuses, so that costs, latency tables and compiled
code speak of the same kernels:

* an ``Add`` whose second operand is a convolution or linear node that nobody else reads, and that
  has no activation of its own, joins that kernel as its residual;
* a batch norm on its own behind a convolution or linear node that nobody else reads, and that has
  no activation, joins that kernel, unless the layer's weights share few values;
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
        norm: The batch norm that was taken in, before the sum.
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
    norm: str | None = None

    @property
    def operator(self) -> ops.Operator:
        return self.node.operator


def fuse(graph: Graph) -> tuple[FusedKernel, ...]:
    """Returns the kernels of ``graph`` in an order in which they can run.

    A sum, or a norm, runs where it stood, after all that it reads.
    """
    norms = joined_norms(graph)
    sums = {sum_node.name: term for sum_node, term in residual_sums(graph)}
    quantizers = joined_quantizers(graph)
    inside = {term.name for term in (*sums.values(), *norms.values())}
    inside |= {name for names in quantizers.values() for name in names}
    kernels = []
    for node in graph.nodes:
        if isinstance(node.operator, ops.Dropout | ops.ChannelSplit) or node.name in inside:
            continue
        work = node
        residual: str | None = None
        if node.name in sums:
            work = sums[node.name]
            (residual,) = (name for name in node.inputs if name != work.name)
        norm = work.name if work.name in norms else None
        work = norms.get(work.name, work)
        kernels.append(
            FusedKernel(
                work,
                node.name,
                work.inputs,
                residual,
                activation_of(node.operator),
                node.shape,
                quantizers.get(node.name, ()),
                norm,
            )
        )
    return tuple(kernels)


def joined_norms(graph: Graph) -> dict[str, Node]:
    """Returns, for each batch norm that joins a kernel, the layer that it joins."""
    joined = {}
    for node in graph.nodes:
        if isinstance(node.operator, ops.BatchNorm) and node.inputs[0] != INPUT:
            layer = graph.node(node.inputs[0])
            if is_open(graph, layer) and takes_norm(layer.operator):
                joined[node.name] = layer
    return joined


def takes_norm(operator: ops.Operator) -> bool:
    """Whether a batch norm behind a layer may be multiplied into its weights.

    Weights that share few values would have others then.
    """
    if isinstance(operator, ops.Linear):
        return operator.sparsity is None or operator.sparsity.bits == 32
    return isinstance(operator, ops.Conv2d)


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
    """Returns each sum that joins a kernel, with the node whose kernel it joins."""
    pairs, norms = [], joined_norms(graph)
    for node in graph.nodes:
        if not isinstance(node.operator, ops.Add) or node.inputs[0] == node.inputs[1]:
            continue
        for name in reversed(node.inputs):
            if name == INPUT or not is_open(graph, graph.node(name)):
                continue
            if name in norms or isinstance(graph.node(name).operator, ops.Conv2d | ops.Linear):
                pairs.append((node, graph.node(name)))
                break
    return pairs


def is_open(graph: Graph, node: Node) -> bool:
    """Whether the only reader of a map may join the kernel that makes it."""
    return activation_of(node.operator) == "none" and len(graph.consumers[node.name]) == 1


def activation_of(operator: ops.Operator) -> Activation:
    activation: Activation = getattr(operator, "activation", "none")
    return activation
