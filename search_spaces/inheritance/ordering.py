"""Ordering: a parent whose channels stand by importance, so that a narrower child keeps the best.

Channels that hang together (`compression.channels`) are moved together, in every layer that makes,
carries or reads them, so that the network computes what it did. What counts is the scale of the
batch norms behind them, as in network slimming (`compression.importance`). Channels that a shuffle
or a grouped convolution ties to others stay where they are.

Shape letters: C channels, O output channels.
"""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression.channels import ChannelGroup, channel_groups
from search_spaces.compression.importance import norm_scales, unit_scores
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d, Linear

Order = NDArray[np.int64]  # (C,) the channel that comes to each place


def ordered(parent: Model, child: Graph, same: Collection[str]) -> Model:
    """Returns the parent with the most important channels first, where the child has fewer.

    Args:
        same: The layers that both have.
    """
    graph = parent.graph
    groups = tuple(
        group for group in channel_groups(graph) if is_narrower(group, graph, child, same)
    )
    scores = unit_scores(groups, norm_scales(parent), "mean", relative=False)
    orders = {name: np.arange(shape[0]) for name, shape in graph.shapes.items()}
    for group in groups:
        if group.name not in scores:
            continue
        best = np.argsort(-scores[group.name], kind="stable")
        for name, channels in group.maps.items():
            places = np.array(channels)[:, 0]
            orders[name][places] = places[best]
    arrays = {
        f"{node.name}.{name}": moved(graph, node, name, parent.arrays, orders)
        for node in graph.nodes
        for name in node.operator.array_shapes(*graph.input_shapes(node))
    }
    return Model(graph, arrays)


def is_narrower(group: ChannelGroup, graph: Graph, child: Graph, same: Collection[str]) -> bool:
    """Whether some channels of a group go, and may change places with the others one by one."""
    if any(group.width(name) > 1 for name in group.maps):
        return False
    return any(
        name in same and child.shapes[name][0] < graph.shapes[name][0] for name in group.producers
    )


def moved(
    graph: Graph, node: Node, name: str, arrays: Mapping[str, Array], orders: Mapping[str, Order]
) -> Array:
    """Returns an array of a node with its channels in their order."""
    array, operator = arrays[f"{node.name}.{name}"], node.operator
    if not array.shape:
        return array
    rows = array[orders[node.name]]
    reads = orders[node.inputs[0]]
    if name != "weight" or not isinstance(operator, Conv2d | Linear):
        return rows
    if isinstance(operator, Conv2d):
        return rows[:, reads] if operator.groups == 1 else rows
    pixels = np.arange(rows.shape[1] // len(reads))
    return rows[:, (reads[:, None] * len(pixels) + pixels).ravel()]
