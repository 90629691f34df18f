"""Fit: which decisions of a space give a known network, if any do."""

from search_spaces.choice import Choice, Value
from search_spaces.graph import INPUT, Graph, Node, watching_nodes
from search_spaces.operators import Operator
from search_spaces.space import Architecture, SearchSpace, decide


class _DiffersError(Exception):
    """The network under construction is not the one that is sought."""


def fit(space: SearchSpace, graph: Graph) -> Architecture | None:
    """Returns the architecture of ``space`` whose graph equals ``graph``, or None.

    Depth-first over the decisions; a branch ends at the first node that differs, so the time
    grows with the sum of the options along the network, not with their product. Node names do not
    count.
    """
    wanted = [signature(node, positions(graph.nodes)) for node in graph.nodes]
    path: list[tuple[Choice, int]] = []
    while True:
        architecture = follow(space, graph, wanted, path)
        if architecture is not None:
            return architecture
        while path and path[-1][1] + 1 == len(path[-1][0].values):
            path.pop()
        if not path:
            return None
        choice, index = path.pop()
        path.append((choice, index + 1))


Signature = tuple[Operator, tuple[int, ...]]


def follow(
    space: SearchSpace, graph: Graph, wanted: list[Signature], path: list[tuple[Choice, int]]
) -> Architecture | None:
    """Decides along ``path`` and then by first values, which are added to ``path``."""
    known: dict[str, int] = {INPUT: -1}
    taken = 0

    def watch(node: Node) -> None:
        at = len(known) - 1
        if at >= len(wanted) or signature(node, known) != wanted[at]:
            raise _DiffersError
        known[node.name] = at

    def pick(choice: Choice) -> Value:
        nonlocal taken
        if taken == len(path):
            path.append((choice, 0))
        value = choice.values[path[taken][1]]
        taken += 1
        return value

    try:
        with watching_nodes(watch):
            architecture = decide(space, pick)
    except (_DiffersError, ValueError):  # ValueError: these decisions make no network at all
        return None
    same = architecture.graph.input_shape == graph.input_shape
    return architecture if same and len(known) - 1 == len(wanted) else None


def positions(nodes: tuple[Node, ...]) -> dict[str, int]:
    return {INPUT: -1} | {node.name: index for index, node in enumerate(nodes)}


def signature(node: Node, known: dict[str, int]) -> Signature:
    return node.operator, tuple(known[name] for name in node.inputs)
