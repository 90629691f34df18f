"""Storage: the arrays of a model as they are kept in a file, codes at their width.

The weights of a coded layer are kept as whole numbers in as many bits as they have,
``NAME.weight`` (O, bytes), and signs with the scale of each output channel, ``NAME.weight.scale``
(O,). A graph says how many bits that is, so that the file need not; real weights, and files of
earlier versions, are float32.

Shape letters: O output channels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.quantization.codes import coded_operator, is_coded, weight_codes, weight_limits

Stored = Mapping[str, NDArray[Any]]


def stored(model: Model) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a model for a file; what ``restored`` makes of them is equal to them.

    Weights that are not on their grid yet, of a training under way, stay as they are.
    """
    arrays: dict[str, NDArray[Any]] = dict(model.arrays)
    for node in filter(is_coded, model.graph.nodes):
        codes, scale = weight_codes(model, node)
        if np.array_equal(decoded(codes, scale), model.arrays[f"{node.name}.weight"]):
            bits, least = width(node)
            shifted = (codes.reshape(len(codes), -1).astype(np.int16) - least).astype(np.uint8)
            arrays[f"{node.name}.weight"] = packed(shifted >> (bits == 1), bits)
            if coded_operator(node).precision.weights == "sign":
                arrays[f"{node.name}.weight.scale"] = scale
    return arrays


def restored(graph: Graph, arrays: Stored) -> Model:
    """Returns the model whose arrays ``stored`` gave.

    Raises:
        ValueError: If an array is missing, unknown, or of another shape than the graph says.
    """
    found = dict(arrays)
    shapes = graph.array_shapes()
    for node in filter(is_coded, graph.nodes):
        name = f"{node.name}.weight"
        if name not in found or found[name].dtype != np.uint8:
            continue
        bits, least = width(node)
        count = int(np.prod(shapes[name][1:]))
        if found[name].shape != (shapes[name][0], -(-count * bits // 8)):
            raise ValueError(f"array {name!r} of {bits} bits has shape {found[name].shape}")
        codes = unpacked(found[name], bits, count).astype(np.int16) << (bits == 1)
        scale = found.pop(f"{name}.scale") if f"{name}.scale" in found else found[f"{name}.step"]
        found[name] = decoded((codes + least).reshape(shapes[name]), scale)
    return Model(graph, found)


def width(node: Node) -> tuple[int, int]:
    """Returns the bits of a layer's weights, and the least code, which is kept as zero."""
    precision = coded_operator(node).precision
    least = -1 if precision.weights == "sign" else min(weight_limits(precision.weight_bits))
    return precision.weight_bits, least


def decoded(codes: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the numbers that codes (O, ...) stand for, with a scale (O,)."""
    each = scale.reshape(-1, *(1,) * (codes.ndim - 1))
    with np.errstate(all="ignore"):  # scales of damaged files; what is no number is refused later
        numbers: NDArray[np.float32] = codes.astype(np.float32) * each
    return numbers


def packed(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Returns each row of numbers of so many bits in bytes, the first one lowest.

    >>> packed(np.array([[3, 0, 1, 2, 1]], np.uint8), 2)
    array([[147,   1]], dtype=uint8)
    """
    rows, count = codes.shape
    each = 8 // bits
    padded = np.pad(codes, ((0, 0), (0, -count % each))).reshape(rows, -1, each)
    whole: NDArray[np.uint8] = (padded << np.arange(0, 8, bits)).sum(2).astype(np.uint8)
    return whole


def unpacked(rows: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Returns the first ``count`` numbers of each row that ``packed`` made.

    >>> unpacked(np.array([[147, 1]], np.uint8), 2, 5)
    array([[3, 0, 1, 2, 1]], dtype=uint8)
    """
    shifts = np.arange(0, 8, bits)
    numbers = (rows[..., None] >> shifts & (1 << bits) - 1).reshape(len(rows), -1)
    return numbers[:, :count].astype(np.uint8)
