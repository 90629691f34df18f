"""Reprecision: the same network with other precisions in some of its layers."""

from collections.abc import Mapping
from dataclasses import replace

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.graphs.precision import (
    FP32,
    PRECISIONS,
    W8A8,
    Precision,
    depthwise_precision,
    grouped_precision,
)
from search_spaces.quantization.insertion import add_quantizers, without_quantizers


def full_precision(graph: Graph) -> Graph:
    """Returns the network with real weights and maps, and no quantizers."""
    return with_precision(graph, dict.fromkeys(layers(graph), FP32))


def with_precision(graph: Graph, precisions: Mapping[str, Precision]) -> Graph:
    """Returns the network with the precisions of the named layers changed.

    A depthwise or grouped convolution takes what it has kernels for: see ``layer_precision``.
    Quantizers are those that the new precisions need; names of layers stay.

    Raises:
        UserError: If a name is no convolution or linear layer of the graph.
    """
    known = layers(graph)
    if unknown := [name for name in precisions if name not in known]:
        raise UserError(
            f"a precision belongs to a convolution or linear layer, got {unknown[0]!r}; the "
            f"layers are {', '.join(known)}"
        )
    plain = without_quantizers(graph)
    return add_quantizers(
        Graph(
            plain.input_shape,
            tuple(
                changed(plain, node, precisions[node.name]) if node.name in precisions else node
                for node in plain.nodes
            ),
        )
    )


def changed(graph: Graph, node: Node, precision: Precision) -> Node:
    operator = node.operator
    assert isinstance(operator, Conv2d | Linear)
    operator = replace(operator, precision=layer_precision(graph, node, precision))
    return replace(node, operator=operator)


def layer_precision(graph: Graph, node: Node, precision: Precision) -> Precision:
    """Returns the precision nearest to ``precision`` that the layer has kernels for.

    Without windows side by side, in linear layers and dilated convolutions, xnor_k is xnor.
    """
    operator = node.operator
    if precision.magnitude_map and getattr(operator, "dilation", None) != (1, 1):
        precision = PRECISIONS["xnor"]
    if not isinstance(operator, Conv2d) or operator.groups == 1:
        return precision
    in_channels = graph.shapes[node.inputs[0]][0]
    if operator.is_depthwise(in_channels):
        return depthwise_precision(precision)
    return grouped_precision(precision, in_channels // operator.groups)


def layers(graph: Graph) -> tuple[str, ...]:
    """Returns the names of the convolution and linear layers, in order."""
    return tuple(node.name for node in graph.nodes if isinstance(node.operator, Conv2d | Linear))


def body(graph: Graph) -> tuple[str, ...]:
    """Returns the layers between the first and the last one, gates of single pixels left out."""
    return tuple(name for name in layers(graph)[1:-1] if not on_a_pixel(graph, graph.node(name)))


def on_a_pixel(graph: Graph, node: Node) -> bool:
    """Whether a convolution reads a map of one pixel, as those of squeeze-and-excitation do."""
    return isinstance(node.operator, Conv2d) and graph.shapes[node.inputs[0]][1:] == (1, 1)


def uniform(graph: Graph, precision: Precision, ends: Precision | None = None) -> Graph:
    """Returns the network with one precision throughout its body; see ``uniform_plan``."""
    return with_precision(graph, uniform_plan(graph, precision, ends))


def uniform_plan(
    graph: Graph, precision: Precision, ends: Precision | None = None
) -> dict[str, Precision]:
    """Returns the precision of each layer where the body has one throughout.

    Args:
        ends: Of the first convolution and the classifier; None takes ``precision`` where it has
            8 bits or is real, and else 8 bits, or float32 where maps are real.
    """
    if ends is None:
        ends = precision if precision in (FP32, W8A8) else depthwise_precision(precision)
    names = layers(graph)
    return dict.fromkeys(body(graph), precision) | dict.fromkeys((names[0], names[-1]), ends)
