"""Removal: channels cut out of a network for real.

Every array is sliced and every width rewritten, so that what is left is an ordinary network: no
mask, no selection of channels by index. It computes what the whole network computes when
everybody reads zeros where the channels were, up to the order in which sums are rounded.

Shape letters: C channels, O output channels, I input channels of a group.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression.channels import ChannelGroup, channel_groups
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.quantization.codes import coded_operator, is_coded

Gone = Mapping[str, Collection[int]]  # units by the name of their group
Kept = Mapping[str, NDArray[np.bool_]]  # whether each channel is left, by map


def remove_channels(model: Model, gone: Gone) -> Model:
    """Returns the model without the units that ``gone`` names.

    Args:
        gone: Numbers of units, by the name of their group in ``channel_groups(model.graph)``.

    Raises:
        UserError: If there is no such group or unit, or a map would have no channel left.
    """
    kept = kept_channels(model.graph, channel_groups(model.graph), gone)
    return Model(without_channels(model.graph, kept), sliced_arrays(model, kept))


def kept_channels(graph: Graph, groups: tuple[ChannelGroup, ...], gone: Gone) -> Kept:
    """Returns for each map which of its channels are left (C,).

    Raises:
        UserError: If there is no such group or unit, or a map would have no channel left.
    """
    kept = {name: np.ones(shape[0], np.bool_) for name, shape in graph.shapes.items()}
    by_name = {group.name: group for group in groups}
    for name, units in gone.items():
        if name not in by_name:
            raise UserError(
                f"no group of channels is called {name!r}; the groups are {', '.join(by_name)}"
            )
        size = by_name[name].size
        if wrong := [unit for unit in units if not 0 <= unit < size]:
            raise UserError(f"{name} has units 0 to {size - 1}, got {wrong[0]}")
        for at, channels in by_name[name].maps.items():
            kept[at][[channel for unit in units for channel in channels[unit]]] = False
    if empty := [name for name, left in kept.items() if not left.any()]:
        raise UserError(
            f"{empty[0]}: it would lose all of its {len(kept[empty[0]])} channels; remove fewer, "
            "or keep a floor per layer"
        )
    return kept


def without_channels(graph: Graph, kept: Kept) -> Graph:
    """Returns the graph with the channels that are left.

    Raises:
        UserError: If an operator cannot have what is left; the message names its node.
    """
    nodes: list[Node] = []
    shapes = {INPUT: graph.input_shape}
    for node in graph.nodes:
        operator = narrowed_operator(graph, node, kept)
        try:
            shape = operator.output_shape(*(shapes[name] for name in node.inputs))
        except ValueError as error:
            raise UserError(f"{node.name}: {error}") from None
        assert shape[0] == kept[node.name].sum(), node.name
        shapes[node.name] = shape
        nodes.append(Node(node.name, operator, node.inputs, shape))
    return Graph(graph.input_shape, tuple(nodes))


def narrowed_operator(graph: Graph, node: Node, kept: Kept) -> ops.Operator:
    operator = node.operator
    left = int(kept[node.name].sum())
    if isinstance(operator, ops.ChannelSplit):
        before = kept[node.inputs[0]][: operator.start].sum()
        return replace(operator, start=int(before), stop=int(before) + left)
    if isinstance(operator, ops.Linear):
        ratio = pruned(operator.prune_ratio, left, operator.out_features)
        whole = kept[node.name].all() and kept[node.inputs[0]].all()
        sparsity = operator.sparsity if whole else None  # of the weights that are left: unknown
        return replace(operator, out_features=left, prune_ratio=ratio, sparsity=sparsity)
    if isinstance(operator, ops.Conv2d):
        ratio = pruned(operator.prune_ratio, left, operator.out_channels)
        groups = groups_left(operator, kept[node.inputs[0]])
        return replace(operator, out_channels=left, groups=groups, prune_ratio=ratio)
    return operator


def pruned(ratio: float, left: int, of: int) -> float:
    """Returns the share of the first channels that is gone, of which ``ratio`` was before."""
    return ratio if left == of else 1 - (1 - ratio) * left / of


def groups_left(operator: ops.Conv2d, kept: NDArray[np.bool_]) -> int:
    """Returns how many groups of a convolution still read something."""
    return int(kept.reshape(operator.groups, -1).any(1).sum())


def sliced_arrays(model: Model, kept: Kept) -> dict[str, Array]:
    """Returns the arrays of the channels that are left."""
    arrays = {}
    for node in model.graph.nodes:
        shapes = node.operator.array_shapes(*model.graph.input_shapes(node))
        for name, shape in shapes.items():
            array = model.arrays[f"{node.name}.{name}"]
            if name == "weight" and isinstance(node.operator, ops.Conv2d | ops.Linear):
                whole = array
                array = sliced_weight(model.graph, node, whole, kept)
                array = with_magnitudes(node, array, whole[kept[node.name]])
            elif shape:
                array = array[kept[node.name]]
            arrays[f"{node.name}.{name}"] = np.array(array, order="C")
    return arrays


def sliced_weight(graph: Graph, node: Node, weight: Array, kept: Kept) -> Array:
    """Returns a weight (O, I, kh, kw) or (O, C * H * W) for the channels that are left."""
    makes, reads = kept[node.name], kept[node.inputs[0]]
    if isinstance(node.operator, ops.Linear):
        _, height, width = graph.shapes[node.inputs[0]]
        return weight[makes][:, np.repeat(reads, height * width)]
    assert isinstance(node.operator, ops.Conv2d)
    groups = node.operator.groups
    parts = zip(*(np.split(each, groups) for each in (weight, makes, reads)), strict=True)
    return np.concatenate([part[out][:, into] for part, out, into in parts if into.any()])


def with_magnitudes(node: Node, weight: Array, of: Array) -> Array:
    """Returns signs' weights with the mean magnitude that those of ``of`` have, their scale."""
    if not is_coded(node) or coded_operator(node).precision.weights != "sign":
        return weight
    before, after = (
        np.abs(w.astype(np.float64)).reshape(len(w), -1).mean(1) for w in (of, weight)
    )
    scale = before / np.where(after == 0, 1, after)
    return (weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.float32)
