"""A network some of whose channels are zeros for everybody who reads them: what pruning imitates.

Shape letters: B batch, C channels, H and W spatial size.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression.channels import ChannelGroup
from search_spaces.graphs.graph import INPUT, Graph
from search_spaces.graphs.model import Model
from tests.oracle import OPERATIONS, Map


def run_masked(
    model: Model, x: NDArray[np.floating], kept: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Map]:
    """Every map ``(B, C, H, W)``, zeros where ``kept`` (C,) of its node says so; in float64."""
    maps: dict[str, Map] = {INPUT: x.astype(np.float64)}
    for node in model.graph.nodes:
        inputs = [maps[name] for name in node.inputs]
        names = node.operator.array_shapes(*model.graph.input_shapes(node))
        arrays = {name: model.arrays[f"{node.name}.{name}"].astype(np.float64) for name in names}
        y = OPERATIONS[type(node.operator)](node.operator, arrays, *inputs)
        maps[node.name] = np.where(kept[node.name][:, None, None], y, 0)
    return maps


def some_units(
    graph: Graph, groups: Sequence[ChannelGroup], rng: np.random.Generator, share: float = 0.4
) -> dict[str, list[int]]:
    """About a share of the units of each group, drawn so that every map keeps a channel."""
    left = {name: shape[0] for name, shape in graph.shapes.items()}
    gone: dict[str, list[int]] = {}
    for group in groups:
        gone[group.name] = []
        for unit in rng.permutation(group.size)[: ceil(share * group.size)].tolist():
            if all(left[name] > len(each[unit]) for name, each in group.maps.items()):
                gone[group.name].append(unit)
                for name, each in group.maps.items():
                    left[name] -= len(each[unit])
    return gone


def whole_numbers(model: Model, rng: np.random.Generator) -> Model:
    """The model with small whole numbers everywhere, so that sums are exact in any order."""
    arrays = {
        name: rng.integers(-2, 3, array.shape).astype(np.float32)
        for name, array in model.arrays.items()
    }
    return Model(model.graph, arrays)
