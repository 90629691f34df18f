"""Shared values: an array as the places that are not zero, and one of few values at each.

Zero is the number with all bits zero; -0.0 is a value like any other, so that it comes back. The
values of a coded layer are its codes, which the graph knows; those of any other array are a
codebook in the file, rising, each as the distance to the one before in float32's order.

Shape letters: O output channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.bits import bits_bytes, read_bits
from nas.models.archives.coding.cursor import Cursor, number_bytes
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Node
from search_spaces.graphs.model import Model
from search_spaces.quantization.codes import coded_operator, weight_codes, weight_limits
from search_spaces.quantization.storage import decoded

MOST_VALUES = 1 << 12
SAMPLE = 1 << 14  # weights that are looked at before all are
SIGN = np.uint32(1 << 31)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SharedArray:
    """An array of few values.

    Attributes:
        size: Numbers of the array.
        places: Where, in C order, it is not zero; rising.
        symbols: Which value stands there, from 1 on.
        num_values: How many there are beside zero.
    """

    size: int
    places: NDArray[np.int64]
    symbols: NDArray[np.int64]
    num_values: int


def shared_values(array: Floats) -> tuple[SharedArray, Floats] | None:
    """Returns an array as places and symbols, and its values, rising; None where it has too many.

    What has more than half as many values as it has numbers is not worth a codebook either.
    """
    words = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    some = words[:: len(words) // SAMPLE + 1]
    most = min(MOST_VALUES, len(words) // 2)
    if len(np.unique(some)) > most:
        return None
    places = np.flatnonzero(words)
    given = ordered(words[places])
    values = np.unique(given)
    if len(values) > most:
        return None
    symbols = np.searchsorted(values, given) + 1
    return SharedArray(len(words), places, symbols, len(values)), unordered(values)


def restored_values(shared: SharedArray, values: Floats) -> Floats:
    """Returns the numbers, flat, that ``shared_values`` was given."""
    flat = np.zeros(shared.size, np.float32)
    flat[shared.places] = values[shared.symbols - 1]
    return flat


def ordered(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Returns the bits of float32 numbers as whole numbers that rise with them.

    >>> numbers = np.array([-2, -0.0, 0, 1e-45, 3], np.float32)
    >>> bool((np.diff(ordered(numbers.view(np.uint32)).astype(int)) > 0).all())
    True
    """
    return np.where(words & SIGN, ~words, words | SIGN)


def unordered(keys: NDArray[np.uint32]) -> Floats:
    words = np.where(keys & SIGN, keys & ~SIGN, ~keys).astype(np.uint32)
    return words.view(np.float32)


def codebook_bytes(values: Floats) -> bytes:
    """Returns rising values for a file: distances, each with the number of its bits.

    The highest bit of a distance is known to be one and left out.
    """
    keys = ordered(np.ascontiguousarray(values).view(np.uint32)).astype(np.int64)
    distances = np.diff(keys, prepend=-1)
    widths = np.frexp(distances.astype(np.float64))[1].astype(np.int64)  # bit lengths
    least = int(widths.min(initial=33))
    each = int(widths.max(initial=least) - least).bit_length()
    return (
        number_bytes(len(values))
        + bytes([least, each])
        + bits_bytes(widths - least, np.full(len(widths), each))
        + bits_bytes(distances - (1 << widths - 1), widths - 1)
    )


def read_codebook(cursor: Cursor, what: str) -> Floats:
    """Returns the values that ``codebook_bytes`` wrote.

    Raises:
        UserError: If there are too many, or they are no float32 numbers.
    """
    count = cursor.number(what, MOST_VALUES)
    least = cursor.number(what, 33)
    each = cursor.number(what, 6)
    if not count:
        return np.zeros(0, np.float32)
    widths = least + read_bits(cursor, np.full(count, each), what)
    if least < 1 or widths.max() > 33:
        raise UserError(f"{what} has distances of no or more than 33 bits")
    keys = np.cumsum(read_bits(cursor, widths - 1, what) + (1 << widths - 1)) - 1
    if keys[-1] >> 32:
        raise UserError(f"{what} goes beyond the numbers that float32 has")
    return unordered(keys.astype(np.uint32))


def shared_codes(model: Model, node: Node) -> tuple[SharedArray, Floats] | None:
    """Returns the codes of a coded layer as places and symbols, and their scales (O,).

    None where its weights are not on their grid bit for bit, as during a training.
    """
    codes, scale = weight_codes(model, node)
    weight = np.ascontiguousarray(model.arrays[f"{node.name}.weight"])
    numbers = np.ascontiguousarray(decoded(codes, scale))
    if not np.array_equal(numbers.view(np.uint32), weight.view(np.uint32)):
        return None
    known = known_codes(node)
    flat = codes.reshape(-1)
    places = np.flatnonzero(flat)
    symbols = np.searchsorted(known, flat[places]) + 1
    return SharedArray(flat.size, places, symbols, len(known)), scale


def restored_codes(shared: SharedArray, node: Node) -> NDArray[np.int8]:
    """Returns the codes, flat, that ``shared_codes`` was given."""
    flat = np.zeros(shared.size, np.int8)
    flat[shared.places] = known_codes(node)[shared.symbols - 1]
    return flat


def known_codes(node: Node) -> NDArray[np.int8]:
    """Returns the codes that a layer's weights may have, but for zero; rising."""
    if has_scale(node):
        return np.array([-1, 1], np.int8)
    low, high = weight_limits(coded_operator(node).precision.weight_bits)
    return np.array([*range(low, 0), *range(1, high + 1)], np.int8)


def has_scale(node: Node) -> bool:
    """Whether a layer's scales are no array of its own: those of signs."""
    return coded_operator(node).precision.weights == "sign"
