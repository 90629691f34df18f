"""Sharing: the weights of a layer take few values, so that a codebook and indices tell them.

A shared layer is one whose weights, but for the zeros, take at most ``2 ** bits`` different
values; nothing beside the weights says so.

*Source:* Han et al., "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
Quantization and Huffman Coding", ICLR 2016, https://arxiv.org/abs/1510.00149, section 3.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from search_spaces.compression.clustering import Init, k_means
from search_spaces.compression.weight_pruning import by_layer, real_weights
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d
from search_spaces.quantization.reprecision import layers

CONV_BITS, LINEAR_BITS = 8, 5  # the paper's
MOST_BITS = 16


def share_weights(
    model: Model,
    bits: Mapping[str, int] | None = None,
    init: Init = "linear",
    *,
    seed: int = 0,
) -> Model:
    """Returns the model whose layers' weights are the centroids that are nearest to them.

    Exact zeros stay exact zeros and are members of no centroid. A layer with no more distinct
    weights than it may have, or with zeros alone, stays as it is.

    Args:
        bits: Of each layer that is shared, ``2 ** bits`` values; None takes `usual_bits`.
        init: As `k_means` has it.
        seed: Of what a random initialisation draws.

    Raises:
        UserError: If there is no such layer, bits are out of bounds, or weights are codes or not
            finite.
    """
    weights = real_weights(model)
    bits = usual_bits(model.graph) if bits is None else bits
    arrays = dict(model.arrays)
    for name, each in bits.items():
        if name not in weights:
            raise UserError(f"no layer is called {name!r}; the layers are {', '.join(weights)}")
        check_bits(name, each)
        arrays[f"{name}.weight"] = shared(weights[name], each, init, seed)
    return Model(model.graph, arrays)


def shared(weight: Array, bits: int, init: Init, seed: int) -> Array:
    """Returns a layer's weights with at most ``2 ** bits`` values beside zero."""
    made, left = np.zeros_like(weight), weight != 0
    if left.any():
        found = k_means(weight[left], 1 << bits, init, seed=seed)
        made[left] = found.centroids.astype(np.float32)[found.labels]
    return made


def usual_bits(
    graph: Graph,
    conv_bits: int = CONV_BITS,
    linear_bits: int = LINEAR_BITS,
    exceptions: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, int]:
    """Returns the bits of each layer by its kind, the paper's by default.

    Args:
        exceptions: Others by names of layers, or patterns of them; of two that fit, the last
            counts.

    Raises:
        UserError: If a pattern fits no layer, or bits are out of bounds.
    """
    names = layers(graph)
    kinds = {
        name: conv_bits if isinstance(graph.node(name).operator, Conv2d) else linear_bits
        for name in names
    }
    found = kinds | by_layer(names, exceptions)
    for name, bits in found.items():
        check_bits(name, bits)
    return found


def check_bits(layer: str, bits: int) -> None:
    if not 1 <= bits <= MOST_BITS:
        raise UserError(f"{layer}: weights are shared at 1 to {MOST_BITS} bits, got {bits}")


def codebook(weight: Array) -> Array:
    """Returns the distinct values of a layer's weights but zero, rising.

    >>> codebook(np.array([[0.5, 0], [-1, 0.5]], np.float32))
    array([-1. ,  0.5], dtype=float32)
    """
    return np.unique(weight[weight != 0])


def is_shared(weight: Array) -> bool:
    """Whether the weights of a layer take so few values that this is no chance.

    Half as many as there are weights, zeros left out, or less, and none of more than 16 bits.
    """
    left = int(np.count_nonzero(weight))
    return 0 < len(codebook(weight)) <= min(1 << MOST_BITS, left // 2)
