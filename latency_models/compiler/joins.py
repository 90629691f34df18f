"""Joins: concatenations rewritten so that their parts can be written in their place."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from search_spaces.graphs import operators as ops
from search_spaces.graphs.fusion import activation_of
from search_spaces.graphs.graph import INPUT, Graph, Node


def push_activations(graph: Graph) -> Graph:
    """Moves activations of concatenations into the kernels of their parts, or behind them."""
    changed: dict[str, Node] = {}
    behind: dict[str, Node] = {}
    for node in graph.nodes:
        operator = node.operator
        if not isinstance(operator, ops.Concat) or operator.activation == "none":
            continue
        parts = [changed.get(name) or graph.node(name) for name in node.inputs if name != INPUT]
        if len(parts) == len(set(node.inputs)) == len(node.inputs) and all(
            can_activate(part) and len(graph.consumers[part.name]) == 1 for part in parts
        ):
            for part in parts:
                activated = replace(part.operator, activation=operator.activation)  # type: ignore[type-var]
                changed[part.name] = replace(part, operator=activated)
            changed[node.name] = replace(node, operator=ops.Concat())
        else:
            inner = f"{node.name}<joined>"
            behind[node.name] = replace(node, name=inner, operator=ops.Concat())
            activate = ops.Activate(operator.activation)
            changed[node.name] = Node(node.name, activate, (inner,), node.shape)
    if not changed:
        return graph
    return Graph(graph.input_shape, tuple(rewritten(graph.nodes, changed, behind)))


def can_activate(node: Node) -> bool:
    does = node.operator
    activated = isinstance(does, ops.Conv2d | ops.Linear | ops.Add | ops.BatchNorm)
    return activated and activation_of(does) == "none"


def rewritten(
    nodes: Iterable[Node], changed: Mapping[str, Node], behind: Mapping[str, Node]
) -> Iterable[Node]:
    for node in nodes:
        if node.name in behind:
            yield behind[node.name]
        yield changed.get(node.name, node)


def share_joins(graph: Graph) -> Graph:
    """Lets a concatenation that begins like an earlier one join that one with the rest.

    A map has one place: of DenseNet's concatenations, each of all maps so far, each is then the
    beginning of the next, and nothing is copied.
    """
    known: dict[tuple[str, ...], Node] = {}
    nodes = []
    for node in graph.nodes:
        made = node
        if isinstance(node.operator, ops.Concat) and activation_of(node.operator) == "none":
            counts = range(len(node.inputs) - 1, 1, -1)
            begun = (n for n in counts if node.inputs[:n] in known)
            if count := next(begun, 0):
                start = known[node.inputs[:count]].name
                made = replace(node, inputs=(start, *node.inputs[count:]))
            known[node.inputs] = node
        nodes.append(made)
    return Graph(graph.input_shape, tuple(nodes))
