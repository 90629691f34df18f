"""Narrowing: a network with a share of its widths, to be trained from scratch.

The baseline of every pruning: Liu et al., "Rethinking the Value of Network Pruning", ICLR 2019,
https://arxiv.org/abs/1810.05270. The input and the classes stay; layers that hang together, and
the groups of grouped and depthwise convolutions, get narrower alike.
"""

from dataclasses import replace
from math import floor

from search_spaces.compression.channels import channel_groups
from search_spaces.compression.removal import kept_channels, without_channels
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Linear


def narrowed(graph: Graph, factor: float) -> Graph:
    """Returns the graph with ``factor`` times its channels in every layer, at least one in each.

    Counts round to the nearest that keeps sums and groups consistent, halves up. What is left has
    no weights to keep, so it may stand elsewhere than it did.

    Raises:
        UserError: If the factor is not above 0 and at most 1.
    """
    if not 0 < factor <= 1:
        raise UserError(f"factor must be above 0 and at most 1, got {factor}")
    groups = channel_groups(graph, in_place=False)
    gone = {group.name: range(kept_units(group.size, factor), group.size) for group in groups}
    narrow = without_channels(graph, kept_channels(graph, groups, gone))
    nodes = []
    for node, whole in zip(narrow.nodes, graph.nodes, strict=True):
        if isinstance(node.operator, Conv2d | Linear) and isinstance(
            whole.operator, Conv2d | Linear
        ):  # it is designed so, not pruned
            operator = replace(node.operator, prune_ratio=whole.operator.prune_ratio)
            node = replace(node, operator=operator)
        nodes.append(node)
    return Graph(narrow.input_shape, tuple(nodes))


def kept_units(units: int, factor: float) -> int:
    """Returns how many units are left.

    >>> kept_units(64, 0.5), kept_units(3, 0.5), kept_units(2, 0.1)
    (32, 2, 1)
    """
    return max(1, floor(units * factor + 0.5))
