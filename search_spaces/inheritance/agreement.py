"""Agreement: which nodes two networks of a space have in common, and which are new.

Nodes agree that have one name and one kind of operator, in blocks of one kind: another block in
the same place may call its layers alike, and means something else by them.
"""

from collections.abc import Collection

from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.space.space import Architecture

BLOCK = "block"  # ends the name of a gene that says which block stands in a place


def agreeing(child: Architecture, parent: Architecture) -> frozenset[str]:
    """Returns the names of the child's nodes that the parent has too."""
    others = tuple(other_blocks(child, parent))
    theirs = parent.graph.shapes.keys()
    return frozenset(
        node.name
        for node in child.graph.nodes
        if node.name in theirs
        and not node.name.startswith(others)
        and is_same(child.graph, node, parent.graph)
    )


def other_blocks(child: Architecture, parent: Architecture) -> Collection[str]:
    """Returns how the names begin of what is in a place where the parent has another block."""
    before = dict(parent.genes)
    return [
        name.removesuffix(BLOCK)
        for name, block in child.genes
        if name.endswith(f".{BLOCK}") and before.get(name) != block
    ]


def is_same(child: Graph, node: Node, parent: Graph) -> bool:
    """Whether a node does what the parent's node of its name does, for perhaps other channels."""
    ours, other = node.operator, parent.node(node.name)
    theirs = other.operator
    if type(ours) is not type(theirs):
        return False
    reads, read = child.input_shapes(node), parent.input_shapes(other)
    if isinstance(ours, ops.Conv2d) and isinstance(theirs, ops.Conv2d):
        each = (ours.is_depthwise(reads[0][0]), theirs.is_depthwise(read[0][0]))
        return all(each) or (not any(each) and ours.groups == theirs.groups)
    if isinstance(ours, ops.Linear):
        return reads[0][1:] == read[0][1:]
    if isinstance(ours, ops.Quantize):
        return ours == theirs
    return len(node.inputs) == len(other.inputs)


def identities(child: Graph, same: Collection[str]) -> frozenset[str]:
    """Returns the convolutions whose norms make a new residual layer the identity.

    Those are the last ones of branches that are added to what the branch began with. Where the
    branch is quantized before it is added there are none: a map of zeros gives no step.
    """
    found = set()
    for node in child.nodes:
        if not isinstance(node.operator, ops.Add) or node.name in same:
            continue
        for name, other in zip(node.inputs, reversed(node.inputs), strict=True):
            if name == INPUT or name in same or not begins_at(child, name, other):
                continue
            does, readers = child.node(name).operator, child.consumers[name]
            if isinstance(does, ops.Conv2d) and does.norm == "batch" and readers == (node,):
                found.add(name)
    return frozenset(found)


def begins_at(graph: Graph, name: str, start: str) -> bool:
    """Whether the map ``name`` is computed from ``start``."""
    known = {start}
    for node in graph.nodes:
        if known & {*node.inputs}:
            known.add(node.name)
    return name in known - {start}
