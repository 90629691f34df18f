"""Estimate: how large an archive will be, from a few thousand weights a layer, in microseconds.

It is the entropy of independent weights: what a coder without contexts could reach, so a network
whose weights hang together comes out smaller than estimated.
"""

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.forms import coded_nodes
from nas.models.archives.sharing import MOST_VALUES, has_scale
from search_spaces.graphs.graph import Node
from search_spaces.graphs.model import Model
from search_spaces.quantization.codes import coded_operator, weight_limits

SAMPLE = 4096  # weights of an array that are looked at
SECTION_BYTES = 7  # form, length and checksum
NODE_BYTES, HEAD_BYTES = 11, 190  # of a head, deflated
GOLDEN = 0.6180339887  # of a size: steps by it meet all rows and columns alike
CODEBOOK_BITS = 24  # of a value
PLAIN_BITS = 27.5  # of a float32 number with its exponent coded
STREAM_BYTES = 10  # of the two streams of an array, beyond their symbols


def estimated_bytes(model: Model) -> int:
    """Returns about how many bytes ``archive_bytes`` makes of a model."""
    nodes = coded_nodes(model.graph)
    arrays = sum(
        coded_bytes(model, name, nodes[name]) if name in nodes else shared_bytes(array)
        for name, array in model.arrays.items()
    )
    fixed = HEAD_BYTES + NODE_BYTES * len(model.graph.nodes) + SECTION_BYTES * len(model.arrays)
    return round(arrays + fixed)


def coded_bytes(model: Model, name: str, node: Node) -> float:
    """Returns about what the weights of a coded layer take."""
    array = model.arrays[name]
    places = sampled(array.size)
    weights = array.reshape(-1)[places]
    if has_scale(node):
        return array.size / 8 + 4 * len(array)
    steps = model.arrays[f"{name}.step"][places // (array.size // len(array))]
    low, high = weight_limits(coded_operator(node).precision.weight_bits)
    codes = np.clip(np.rint(weights / steps), low, high).astype(np.int64) - low
    return symbols_bytes(np.bincount(codes), array.size)


def shared_bytes(array: NDArray[np.float32]) -> float:
    """Returns about what an array takes that has a codebook, if it has few values."""
    words = np.ascontiguousarray(array).reshape(-1).view(np.uint32)[sampled(array.size)]
    values, counts = np.unique(words, return_counts=True)
    if len(values) > min(MOST_VALUES, len(words) // 2):
        return array.size * PLAIN_BITS / 8
    return symbols_bytes(counts, array.size) + len(values) * CODEBOOK_BITS / 8


def sampled(size: int) -> NDArray[np.int64]:
    """Returns the places of at most ``SAMPLE`` numbers, spread over all rows and columns."""
    if size <= SAMPLE:
        return np.arange(size)
    return np.arange(SAMPLE) * (int(size * GOLDEN) | 1) % size


def symbols_bytes(counts: NDArray[np.int64], size: int) -> float:
    """Returns the entropy of symbols that occur so often, and what learning them costs."""
    counts = counts[counts > 0]
    total = counts.sum()
    bits = float(-(counts / total * np.log2(counts / total)).sum())
    missed = (len(counts) - 1) / (2 * total * np.log(2))  # by a sample, Miller and Madow
    learning = (len(counts) - 1) * np.log2(1 + size / len(counts)) / 2
    return (size * (bits + missed * (total < size)) + learning) / 8 + STREAM_BYTES
