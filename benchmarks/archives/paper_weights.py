"""Weights of AlexNet and VGG-16 as Deep Compression leaves them: made, not trained.

Here is no ImageNet. What is the paper's is the size of each layer, the share of its weights that
is kept, the bits of its codebook, and the bits that values and indices take after Huffman coding
(Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, tables 4 and 5).
Weights are drawn so that these come out: Laplace distributed, each row and each column with a
scale of its own, cut off at the threshold that keeps the paper's share. Two numbers a layer are
fitted:

* the distance of the codebook's values, which stand evenly (as the paper's linear initialisation
  has them), until the layer takes the bytes that it takes in the paper;
* how unlike the scales of rows and columns are, so that with these bytes the bits of an index
  and of a value are as near to the paper's as they can be: pruned weights do not lie
  independently.

So the sizes of Huffman codes are the paper's by construction; bits of values and indices differ.
What a coder of contexts then gains is what there is to gain from rows and columns alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.huffman import huffman_table
from nas.models.archives.coding.relative import relative_entries
from search_spaces.graphs.model import Model, random_model
from search_spaces.networks import get_network

Floats = NDArray[np.float32]
FLOAT_BITS, GOLDEN = 32, 0.6180339887
TRIED = 1 << 18  # weights of a layer that the two numbers are fitted to
HALVINGS = 9
SPREADS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)  # of the logarithms of scales


@dataclass(frozen=True, slots=True)
class PaperLayer:
    """A row of table 4 or 5.

    Attributes:
        kept: Share of weights that is not zero.
        bits: Of a value before coding: the codebook has ``2 ** bits``.
        coded_bits: Of a value after Huffman coding; so ``coded_index_bits``.
        percent: Size after all against float32.
    """

    kept: float
    bits: int
    coded_bits: float
    coded_index_bits: float
    percent: float


def rows_of(table: str) -> Mapping[str, PaperLayer]:
    rows = [line.split() for line in table.strip().splitlines()]
    return {
        name: PaperLayer(float(kept) / 100, int(bits), *map(float, rest))
        for name, kept, bits, *rest in rows
    }


# Layer, weights kept (%), bits of a value, after Huffman, of an index after Huffman, size (%).
ALEXNET = rows_of(
    """
    conv1 84 8 6.3 1.2 20.53
    conv2 38 8 5.5 2.3  9.43
    conv3 35 8 5.1 2.6  8.44
    conv4 37 8 5.2 2.5  9.11
    conv5 37 8 5.6 2.5  9.43
    fc6    9 5 3.9 3.2  2.39
    fc7    9 5 3.6 3.7  2.46
    fc8   25 5 4.0 3.2  5.85
    """
)
VGG16 = rows_of(
    """
    conv1_1 58 8 6.8 1.7 29.97
    conv1_2 22 8 6.5 2.6  6.99
    conv2_1 34 8 5.6 2.4  8.91
    conv2_2 36 8 5.9 2.3  9.31
    conv3_1 53 8 4.8 1.8 11.15
    conv3_2 24 8 4.6 2.9  5.67
    conv3_3 42 8 4.6 2.2  8.96
    conv4_1 32 8 4.6 2.6  7.29
    conv4_2 27 8 4.2 2.9  5.93
    conv4_3 34 8 4.4 2.5  7.47
    conv5_1 35 8 4.7 2.5  8.00
    conv5_2 29 8 4.6 2.7  6.52
    conv5_3 36 8 4.6 2.3  7.79
    fc6      4 5 3.6 3.5  1.10
    fc7      4 5 4.0 4.3  1.25
    fc8     23 5 4.0 3.4  5.24
    """
)


@dataclass(frozen=True, slots=True)
class PaperNetwork:
    """A network of the paper.

    Attributes:
        index_bits: Of a relative index, in the paper's table.
        huffman, contexts: How many times smaller than float32: in the paper; wanted of contexts.
    """

    name: str
    layers: Mapping[str, PaperLayer]
    index_bits: int
    huffman: float
    contexts: float


NETWORKS = (
    PaperNetwork("alexnet", ALEXNET, 4, 35, 45),
    PaperNetwork("vgg16", VGG16, 5, 49, 63),
)


def paper_model(network: PaperNetwork, seed: int = 0) -> Model:
    """Returns a network whose weights were made as the paper's; its biases are drawn."""
    graph = get_network(network.name)()
    rng = np.random.default_rng(seed)
    model = random_model(graph, rng)
    weights = [name for name, array in model.arrays.items() if array.ndim > 1]
    arrays = dict(model.arrays)
    for name, layer in zip(weights, network.layers.values(), strict=True):
        arrays[name] = paper_weights(arrays[name].shape, layer, network.index_bits, rng)
    return Model(graph, arrays)


def paper_weights(
    shape: tuple[int, ...], layer: PaperLayer, index_bits: int, rng: np.random.Generator
) -> Floats:
    """Returns weights of a layer, made as the module says."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    noise = rng.standard_normal(rows, np.float32), rng.standard_normal(columns, np.float32)
    tried = max(min(rows, TRIED // columns), 1)
    drawn = laplace(tried, columns, rng)
    best, spread, step = np.inf, 0.0, 1.0
    for tried_spread in SPREADS:
        pruned = kept(spread_of(tried_spread, drawn, noise[0][:tried], noise[1]), layer.kept)
        percent = partial(percent_at, pruned=pruned, layer=layer, index_bits=index_bits)
        found = halved(percent, layer.percent, *distances(pruned, layer.bits))
        of_indices, of_values, _ = coded_bits(pruned, found, layer.bits, index_bits)
        missed = abs(of_indices - layer.coded_index_bits) + abs(of_values - layer.coded_bits)
        if missed < best:
            best, spread, step = missed, tried_spread, found
    whole = laplace(rows, columns, rng) if tried < rows else drawn
    weights = kept(spread_of(spread, whole, noise[0], noise[1]), layer.kept)
    distance = np.float32(0.05 / 2**layer.bits)
    return (values_of(weights, step, layer.bits) * distance).astype(np.float32).reshape(shape)


def coded_bits(
    pruned: Floats, step: float, bits: int, index_bits: int
) -> tuple[float, float, int]:
    """Returns what an index and a value take in Huffman codes, and how many entries there are."""
    gaps, symbols = entries(values_of(pruned, step, bits), index_bits)
    ranks = np.unique(symbols, return_inverse=True)[1]
    return huffman_bits(gaps), huffman_bits(ranks), len(gaps)


def percent_at(step: float, pruned: Floats, layer: PaperLayer, index_bits: int) -> float:
    of_indices, of_values, count = coded_bits(pruned, step, layer.bits, index_bits)
    return 100 * count * (of_indices + of_values) / (FLOAT_BITS * pruned.size)


def laplace(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    sizes = rng.standard_exponential((rows, columns), np.float32)
    return np.where(rng.random((rows, columns), np.float32) < 0.5, -sizes, sizes)


def spread_of(spread: float, drawn: Floats, rows: Floats, columns: Floats) -> Floats:
    """Returns drawn weights with rows and columns of unlike scales."""
    scales = np.exp(spread * rows)[:, None] * np.exp(spread * columns)
    return drawn * scales.astype(np.float32)


def kept(weights: Floats, share: float) -> Floats:
    """Returns by how much weights exceed the threshold that keeps such a share, with signs."""
    sizes = np.abs(weights)
    flat = sizes.reshape(-1)
    if flat.size > TRIED:  # some of all rows and columns alike
        flat = flat[np.arange(TRIED) * (int(flat.size * GOLDEN) | 1) % flat.size]
    excess = sizes - np.float32(np.quantile(flat, 1 - share))
    return np.where(excess > 0, np.copysign(excess, weights), np.float32(0))


def values_of(pruned: Floats, step: float, bits: int) -> NDArray[np.int32]:
    """Returns which value of the codebook each weight has: 0, or up to half of them either way."""
    half = 1 << bits - 1
    sizes = np.minimum(np.floor(np.abs(pruned) / step), half - 1) + 1
    return np.where(pruned == 0, 0, np.copysign(sizes, pruned)).astype(np.int32)


def distances(pruned: Floats, bits: int) -> tuple[float, float]:
    """Returns the least and the greatest distance of values that are worth trying."""
    mean = float(np.abs(pruned[pruned != 0]).mean())
    return 64 * mean, mean / (1 << bits)


def entries(
    weights: NDArray[np.generic], index_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flat = weights.reshape(-1)
    places = np.flatnonzero(flat)
    symbols = flat[places].astype(np.int64) if flat.dtype.kind == "i" else np.ones_like(places)
    return relative_entries(places, symbols, index_bits)


def huffman_bits(symbols: NDArray[np.int64]) -> float:
    """Returns what a symbol takes in Huffman codes, on average."""
    counts = np.bincount(symbols)
    return float(counts @ np.array(huffman_table(counts).lengths)) / len(symbols)


def halved(value: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Returns where a value is as wanted, which it nears from ``low`` to ``high`` or is beyond."""
    rises = value(high) > value(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2 if low * high == 0 else float(np.sqrt(low * high))
        if (value(middle) < wanted) == rises:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def layers(model: Model) -> Iterator[tuple[str, Floats]]:
    """Yields the weights of a model by the names of their layers."""
    for name, array in model.arrays.items():
        if array.ndim > 1:
            yield name.removesuffix(".weight"), array
