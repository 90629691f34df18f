"""The paper's form: relative indices of a fixed width, and Huffman codes of values and indices.

*Source:* Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, sections 2
to 4.
"""

from dataclasses import dataclass

import numpy as np

from nas.models.archives.coding.cursor import Cursor, number_bytes
from nas.models.archives.coding.huffman import (
    huffman_table,
    read_stream,
    read_table,
    stream_bytes,
    table_bytes,
)
from nas.models.archives.coding.relative import absolute_places, relative_entries
from nas.models.archives.sharing import SharedArray
from search_spaces.graphs.errors import UserError

MOST_WIDTH = 12  # bits of an index


@dataclass(frozen=True, slots=True)
class IndexBits:
    """How wide relative indices are: the paper's section 2 has 8 and 5 bits, its tables 4 to 5."""

    conv: int = 8
    linear: int = 5

    def __post_init__(self) -> None:
        for width in (self.conv, self.linear):
            if not 1 <= width <= MOST_WIDTH:
                raise UserError(f"indices must have 1 to {MOST_WIDTH} bits, got {width}")

    def of(self, shape: tuple[int, ...]) -> int:
        """Returns the width for an array: convolutions have more than two axes."""
        return self.conv if len(shape) > 2 else self.linear


@dataclass(frozen=True, slots=True)
class CodedParts:
    """What the bytes of a coded array are for.

    Attributes:
        entries: Values that are kept, filler zeros among them.
        index_width: Bits of an index before it is coded; 0 where there is no index.
        table_bytes: Tables and what else is neither values nor indices.
        value_bytes: Of the coded values.
        index_bytes: Of the coded indices, or of where values are.
    """

    entries: int
    index_width: int
    table_bytes: int
    value_bytes: int
    index_bytes: int


def huffman_bytes(shared: SharedArray, width: int) -> bytes:
    """Returns an array of few values as indices of so many bits, and values, in Huffman codes."""
    gaps, symbols = relative_entries(shared.places, shared.symbols, width)
    out = [bytes([width]), number_bytes(len(gaps))]
    for numbers in (symbols, gaps):
        table = huffman_table(np.bincount(numbers))
        out += [table_bytes(table), stream_bytes(numbers, table)]
    return b"".join(out)


def read_huffman(
    cursor: Cursor, size: int, num_values: int, what: str
) -> tuple[SharedArray, CodedParts]:
    """Returns the array of ``size`` numbers that ``huffman_bytes`` wrote.

    Raises:
        UserError: If it is damaged.
    """
    start = cursor.at
    width = cursor.number(f"{what}: the width of an index", MOST_WIDTH)
    count = cursor.number(f"{what}: its entries", size)
    tables = cursor.at - start
    streams, sizes = [], []
    for name in ("values", "indices"):
        start = cursor.at
        table = read_table(cursor, f"{what}: the table of {name}")
        tables += cursor.at - start
        start = cursor.at
        streams.append(read_stream(cursor, table, count, f"{what}: the stream of {name}"))
        sizes.append(cursor.at - start)
    places, symbols = absolute_places(streams[1], streams[0], size)
    if symbols.max(initial=0) > num_values:
        raise UserError(f"{what}: it has value {symbols.max()} of {num_values}")
    shared = SharedArray(size, places, symbols, num_values)
    return shared, CodedParts(count, width, tables, *sizes)
