"""Sparse weights in memory: tokens that name table entries, in groups of rows of equal length.

Rows of outputs are cut into panels, whose sums fit in the first-level cache, and columns into
blocks, of which a table does: of shared weights its products with every value of the codebook, so
that the token of a weight is its column in the block and its symbol; of others the numbers
themselves, beside which values are stored. Of each panel and block, the rows that keep a weight
there are ordered by how many they keep, and go in groups of 8 side by side. So the rows of a group
are about as long, and those that are shorter end in tokens of a zero.

As 16-bit numbers, for each panel, for each of its blocks:

    groups, 0, then for each group: steps, 0, row of each of 8 sums, then steps x 8 tokens

Letters: O outputs, I inputs, K values of a codebook.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Tokens = NDArray[np.uint16]
GROUP = 8  # rows that are summed side by side: more than a sum's latency
HEAD = 2 + GROUP  # numbers before a group's tokens
PANEL = 4096  # rows whose sums lie beside the table in the first-level cache
TABLE = 4096  # float32 numbers of the table
MOST_PRODUCT_BITS = 6  # a table of more values has too few columns for rows to keep some in each
LEAST_PRODUCT_BITS = 4  # products are made by whole vectors


@dataclass(frozen=True, slots=True)
class SparseLayout:
    """How a layer is cut.

    Attributes:
        outputs: O.
        inputs: I.
        bits: Of a kept weight; 32 for any number.
    """

    outputs: int
    inputs: int
    bits: int

    @property
    def by_products(self) -> bool:
        """Whether the table holds products, and no value is stored beside a token."""
        return self.bits <= MOST_PRODUCT_BITS

    @property
    def symbols(self) -> bool:
        """Whether what is stored beside a token is a place in the codebook."""
        return not self.by_products and self.bits < 32

    @property
    def values(self) -> int:
        """K as the table has it: entries of one column."""
        return 1 << max(self.bits, LEAST_PRODUCT_BITS) if self.by_products else 1

    @property
    def columns(self) -> int:
        """Columns of a block, at most."""
        return min(self.inputs, TABLE // self.values)

    @property
    def zero(self) -> int:
        """The table's entry that is zero: its last."""
        return self.columns * self.values

    @property
    def blocks(self) -> int:
        return -(-self.inputs // self.columns)

    @property
    def rows(self) -> int:
        """Rows of a panel, at most."""
        return min(self.outputs, PANEL)

    @property
    def panels(self) -> int:
        return -(-self.outputs // self.rows)

    @property
    def padded_rows(self) -> int:
        """Sums of a panel, in whole vectors of any unit; the next takes what belongs to no row."""
        return -(-self.rows // 16) * 16

    @property
    def padded_outputs(self) -> int:
        return -(-self.outputs // 16) * 16

    @property
    def codebook(self) -> int:
        """Values of the codebook as it is stored."""
        return self.values if self.by_products else 1 << self.bits if self.symbols else 0


def pack_sparse(layout: SparseLayout, weight: Array, bias: Array) -> dict[str, NDArray[Any]]:
    """Returns what the kernel reads for weight (O, I) and bias (O,), by argument.

    ``weights`` has the biases, then the codebook; ``values`` is there where tokens are not enough.
    """
    assert weight.shape == (layout.outputs, layout.inputs), (weight.shape, layout)
    book = np.unique(weight[weight != 0]) if layout.codebook else np.zeros(0, np.float32)
    assert len(book) <= layout.codebook, (len(book), layout)
    blocks = [packed_block(layout, part, book) for part in parts(layout, weight)]
    whole = np.zeros(layout.padded_outputs + layout.codebook, np.float32)
    whole[: layout.outputs] = bias
    whole[layout.padded_outputs :][: len(book)] = book
    packed = {"weights": whole, "tokens": np.concatenate([tokens for tokens, _ in blocks])}
    if layout.by_products:
        return packed
    kind = np.uint8 if layout.symbols else np.float32
    return packed | {"values": np.concatenate([values for _, values in blocks]).astype(kind)}


def parts(layout: SparseLayout, weight: Array) -> Iterator[Array]:
    """The blocks of each panel, in the order in which they are summed."""
    for top in range(0, layout.outputs, layout.rows):
        for left in range(0, layout.inputs, layout.columns):
            yield weight[top : top + layout.rows, left : left + layout.columns]


def packed_block(layout: SparseLayout, part: Array, book: Array) -> tuple[Tokens, NDArray[Any]]:
    """Returns the numbers of one block, and what is stored beside each of its tokens."""
    rows, columns = np.nonzero(part)
    kept = part[rows, columns]
    symbols = np.searchsorted(book, kept) if layout.codebook else columns
    counts = np.bincount(rows, minlength=len(part))
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    steps = counts[order[::GROUP]]
    starts = 2 + HEAD * np.arange(len(steps)) + GROUP * (np.cumsum(steps) - steps)
    tokens = np.full(2 + HEAD * len(steps) + GROUP * steps.sum(), layout.zero, np.uint16)
    tokens[:2] = len(steps), 0
    tokens[starts], tokens[starts + 1] = steps, 0
    names = np.full(GROUP * len(steps), layout.padded_rows)
    names[: len(order)] = order
    tokens[starts[:, None] + 2 + np.arange(GROUP)] = names.reshape(-1, GROUP)

    place = np.zeros(len(part), np.intp)
    place[order] = np.arange(len(order))
    group, lane = np.divmod(place[rows], GROUP)
    step = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    inside = GROUP * step + lane
    entries = columns * layout.values + symbols if layout.by_products else columns
    tokens[starts[group] + HEAD + inside] = entries
    beside = np.zeros(GROUP * steps.sum(), np.float32)
    beside[(GROUP * (np.cumsum(steps) - steps))[group] + inside] = (
        symbols if layout.symbols else kept
    )
    return tokens, beside
