"""Factorisation: one layer as several in a row, ready to be put in its place.

The last factor keeps the layer's name, bias, norm and activation, so that readers, sums and
training see no difference; the others come before it and have none. Padding stays exact, as
zeros outside a map are zeros after any factor without bias.

Shape letters: O output channels, I input channels; kh, kw sides of a kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from search_spaces.compression import factors
from search_spaces.compression.factors import Matrix
from search_spaces.graphs.cost import MACS
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d, Linear

KernelShapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Factorisation:
    """A layer as several, ready to be put in its place.

    Attributes:
        layer: The layer's name, and that of the last factor.
        scheme: How it was factorised.
        ranks: Channels between the factors.
        nodes: The factors, in order.
        arrays: Their arrays.
        macs: Multiply-accumulates of the layer and of the factors.
        params: Numbers in the weights of the layer and of the factors.
        error: What is lost of the weight, as a share of its Frobenius norm.
    """

    layer: str
    scheme: str
    ranks: tuple[int, ...]
    nodes: tuple[Node, ...]
    arrays: Mapping[str, Array]
    macs: tuple[int, int]
    params: tuple[int, int]
    error: float

    @property
    def saves(self) -> bool:
        """Whether the factors take fewer multiply-accumulates than the layer."""
        return self.macs[1] < self.macs[0]


def kernel_of(model: Model, node: Node) -> Matrix:
    """Returns a layer's weight as a kernel (O, I, kh, kw).

    Raises:
        UserError: If a weight is not finite.
    """
    weight = model.arrays[f"{node.name}.weight"].astype(np.float64)
    if not np.isfinite(weight).all():
        raise UserError(f"{node.name}: a weight is not a finite number; train or import it anew")
    return weight if weight.ndim == 4 else weight[:, :, None, None]


def built(
    model: Model, node: Node, scheme: str, kernels: tuple[Matrix, ...], term: Matrix | None = None
) -> Factorisation:
    """Returns the factorisation that kernels in a row are, the last one with a term (O,) more."""
    graph = model.graph
    arrays = {
        f"{node.name}.{name}": model.arrays[f"{node.name}.{name}"]
        for name in node.operator.array_shapes(*graph.input_shapes(node))
    }
    last = node.operator
    assert isinstance(last, Conv2d | Linear)
    if term is not None:
        last = with_term(node.name, last, term, arrays)
    nodes = factor_nodes(graph, node, last, tuple(kernel.shape for kernel in kernels))
    for each, kernel in zip(nodes, kernels, strict=True):
        weight = kernel if isinstance(last, Conv2d) else kernel[:, :, 0, 0]
        arrays[f"{each.name}.weight"] = np.array(weight, np.float32, order="C")
    whole = kernel_of(model, node)
    lost = float(np.linalg.norm(whole - factors.product(kernels)))
    return Factorisation(
        layer=node.name,
        scheme=scheme,
        ranks=tuple(len(kernel) for kernel in kernels[:-1]),
        nodes=nodes,
        arrays=arrays,
        macs=(count_node_macs(graph, (node,)), count_node_macs(graph, nodes)),
        params=(whole.size, sum(kernel.size for kernel in kernels)),
        error=lost / (float(np.linalg.norm(whole)) or 1),
    )


def factor_nodes(
    graph: Graph, node: Node, last: Conv2d | Linear, kernels: KernelShapes
) -> tuple[Node, ...]:
    """Returns a layer's factors as nodes, for the shapes of their kernels; ``last`` ends them."""
    names = (*fresh_names(graph, node.name, len(kernels) - 1), node.name)
    nodes: list[Node] = []
    shape, reads = graph.input_shapes(node)[0], node.inputs
    for index, name in enumerate(names):
        operator = factor(last, kernels, index)
        shape = operator.output_shape(shape)
        nodes.append(Node(name, operator, reads, shape))
        reads = (name,)
    assert shape == node.shape
    return tuple(nodes)


def factor(whole: Conv2d | Linear, kernels: KernelShapes, index: int) -> Conv2d | Linear:
    """Returns the operator of a factor: it takes the sides of the window that its kernel has.

    Where no kernel has a side, the stride there is the first factor's, which saves most.
    """
    out, _, height, width = kernels[index]
    is_last = index == len(kernels) - 1
    if isinstance(whole, Linear):
        return replace(whole, sparsity=None) if is_last else Linear(out, bias=False)
    tall, wide = (index == int(np.argmax([k[axis] for k in kernels])) for axis in (2, 3))
    end = whole.end_padding
    made = replace(
        whole if is_last else Conv2d(out, norm="none", activation="none"),
        out_channels=out,
        kernel_size=(height, width),
        stride=chosen(whole.stride, (1, 1), tall, wide),
        padding=chosen(whole.pads, (0, 0), tall, wide),
        dilation=chosen(whole.dilation, (1, 1), tall, wide),
        end_padding=None if end is None else chosen(end, (0, 0), tall, wide),
    )
    usual = replace(made, padding=None)
    return usual if usual.pads == made.pads else made


def chosen(
    size: tuple[int, int], other: tuple[int, int], tall: bool, wide: bool
) -> tuple[int, int]:
    return (size if tall else other)[0], (size if wide else other)[1]


def count_node_macs(graph: Graph, nodes: tuple[Node, ...]) -> int:
    """Returns the multiply-accumulates of nodes in a row, the first of which reads a map."""
    read, macs = graph.shapes[nodes[0].inputs[0]], 0
    for node in nodes:
        macs += MACS[type(node.operator)](node.operator, (read,), node.shape)
        read = node.shape
    return macs


def macs_of(graph: Graph, node: Node, kernels: KernelShapes | None = None) -> int:
    """Returns the multiply-accumulates of a layer, or of factors with kernels of these shapes."""
    if kernels is None:
        return count_node_macs(graph, (node,))
    assert isinstance(node.operator, Conv2d | Linear)
    return count_node_macs(graph, factor_nodes(graph, node, node.operator, kernels))


def with_term(
    name: str, operator: Conv2d | Linear, term: Matrix, arrays: dict[str, Array]
) -> Conv2d | Linear:
    """Adds a term (O,) to a layer's sums: to its bias, or to the mean that its norm takes off."""
    bias, mean = f"{name}.bias", f"{name}.norm.mean"
    if operator.bias or operator.norm == "none":
        arrays[bias] = (arrays.get(bias, 0) + term).astype(np.float32)
        return replace(operator, bias=True)
    assert mean in arrays, operator.norm
    arrays[mean] = (arrays[mean] - term).astype(np.float32)
    return operator


def fresh_names(graph: Graph, name: str, count: int) -> list[str]:
    taken = set(graph.shapes)
    numbered = (f"{name}.factor{number}" for number in range(1, len(taken) + count + 1))
    return [each for each in numbered if each not in taken][:count]
