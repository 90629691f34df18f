"""Features of networks: how much work of which kind, of the graph alone.

They are coarse on purpose: about a dozen numbers that a few measurements can weigh. What a network
takes on a new device, beside what it takes on others, depends most on how much of its work is in
which number format.

Letters: N networks, P features.
"""

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.cost import kernel_costs, precision_of
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Operator

Array = NDArray[np.float64]

FORMATS = ("real", "real maps", "signs", "few bits", "integers")  # of weights and maps
FEW_BITS = 4  # that both weights and maps have at most: such codes may be packed
SHAPES = ("dense", "depthwise")
NAMES = (
    *("log MACs", "log bytes", "log nodes"),
    *(f"share of MACs: {shape}, {coded}" for shape in SHAPES for coded in FORMATS),
)


def network_features(graphs: Sequence[Graph]) -> Array:
    """Returns (N, P) features, in the order of ``NAMES``.

    Raises:
        UnsupportedOperatorError: If the work of an operator is not known.
    """
    rows = [features_of(graph) for graph in graphs]
    return np.array(rows, np.float64).reshape(len(rows), len(NAMES))


def features_of(graph: Graph) -> list[float]:
    macs = dict.fromkeys(((shape, coded) for shape in SHAPES for coded in FORMATS), 0)
    moved_bytes = 0
    for kernel, cost in kernel_costs(graph):
        moved_bytes += cost.memory_access_bytes
        if cost.macs:
            macs[shape_of(kernel.operator), format_of(kernel.operator)] += cost.macs
    whole = sum(macs.values())
    sizes = [log(max(whole, 1)), log(max(moved_bytes, 1)), log(len(graph.nodes))]
    return [*sizes, *(each / max(whole, 1) for each in macs.values())]


def shape_of(operator: Operator) -> str:
    is_depthwise = isinstance(operator, Conv2d) and 1 < operator.groups == operator.out_channels
    return "depthwise" if is_depthwise else "dense"


def format_of(operator: Operator) -> str:
    precision = precision_of(operator)
    if precision.weights == "real":
        return "real"
    if precision.activations == "real":
        return "real maps"
    if precision.weights == precision.activations == "sign":
        return "signs"
    bits = max(precision.weight_bits, precision.activation_bits)
    return "few bits" if bits <= FEW_BITS else "integers"
