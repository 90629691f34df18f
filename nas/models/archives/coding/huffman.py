"""Huffman codes: canonical ones, their tables, and decoding many lanes of a stream in step.

A stream of symbols is cut into lanes of equally many. Where each begins is in the file, so that a
step of the decoder takes one symbol from every lane at once: numpy at full speed, for half a
percent of bytes.

*Source:* Huffman, 1952, https://doi.org/10.1109/JRPROC.1952.273898; canonical codes: Schwartz and
Kallick, 1964, https://doi.org/10.1145/363958.363991.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.bits import bits_bytes, read_bits
from nas.models.archives.coding.cursor import Cursor, number_bytes
from search_spaces.graphs.errors import UserError

LONGEST = 15  # bits of a code: a table of 2 ** 15 windows stays in a cache
MOST_SYMBOLS = 1 << 13
LEAST_LANE, MOST_LANE, LANES = 256, 4096, 256  # symbols a lane; lanes of a short stream
ONE_SYMBOL, LENGTHS = 0, 1  # kinds of a table

Symbols = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HuffmanTable:
    """A prefix code: the bits of each symbol, 0 where it does not occur.

    Where a single symbol occurs it takes no bits, and ``only`` is it.
    """

    lengths: tuple[int, ...]
    only: int | None = None

    def codes(self) -> list[int]:
        """Returns the code of each symbol: shorter ones first, equally long ones in order.

        >>> HuffmanTable((2, 1, 3, 3)).codes()
        [2, 0, 6, 7]
        """
        codes, code, before = [0] * len(self.lengths), 0, 0
        for length, symbol in sorted((n, s) for s, n in enumerate(self.lengths) if n):
            code <<= length - before
            codes[symbol], before = code, length
            code += 1
        return codes


def huffman_table(counts: Symbols) -> HuffmanTable:
    """Returns the code of symbols that occur so often, no longer than ``LONGEST`` bits.

    >>> huffman_table(np.array([3, 6, 1, 1])).lengths
    (2, 1, 3, 3)
    """
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return HuffmanTable((0,) * len(counts), int(used[0]) if len(used) else 0)
    weights = counts[used].astype(np.int64)
    while max(lengths := code_lengths(weights.tolist())) > LONGEST:
        weights = (weights + 1) // 2  # flatter, so that the rarest come closer
    found = np.zeros(len(counts), np.int64)
    found[used] = lengths
    return HuffmanTable(tuple(found.tolist()))


def code_lengths(weights: list[int]) -> list[int]:
    """Returns how deep each weight lies in a Huffman tree of them; ties by their order."""
    heap = [(weight, index) for index, weight in enumerate(weights)]
    heapq.heapify(heap)
    parents: dict[int, int] = {}
    for node in range(len(weights), 2 * len(weights) - 1):
        (one, first), (other, second) = heapq.heappop(heap), heapq.heappop(heap)
        parents[first] = parents[second] = node
        heapq.heappush(heap, (one + other, node))
    depths = {2 * len(weights) - 2: 0}
    for node in range(2 * len(weights) - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return [depths[index] for index in range(len(weights))]


def table_bytes(table: HuffmanTable) -> bytes:
    """Returns a table for a file: its one symbol, or the lengths, two in a byte."""
    if table.only is not None:
        return bytes([ONE_SYMBOL]) + number_bytes(table.only)
    lengths = np.array([*table.lengths, *[0] * (len(table.lengths) % 2)], np.uint8)
    halves = lengths[::2] | lengths[1::2] << 4
    return bytes([LENGTHS]) + number_bytes(len(table.lengths)) + halves.tobytes()


def read_table(cursor: Cursor, what: str) -> HuffmanTable:
    """Returns the table that ``table_bytes`` wrote.

    Raises:
        UserError: If it is no complete prefix code.
    """
    kind = cursor.byte(what)
    if kind == ONE_SYMBOL:
        only = cursor.number(what, MOST_SYMBOLS - 1)
        return HuffmanTable((0,) * (only + 1), only)
    if kind != LENGTHS:
        raise UserError(f"{what} is of unknown kind {kind}")
    count = cursor.number(what, MOST_SYMBOLS)
    halves = np.frombuffer(cursor.take((count + 1) // 2, what), np.uint8)
    lengths = np.stack([halves & 15, halves >> 4], 1).reshape(-1)[:count].astype(np.int64)
    if int((1 << LONGEST - lengths[lengths > 0]).sum()) != 1 << LONGEST:
        raise UserError(f"{what} is no prefix code: its lengths leave gaps or overlap")
    return HuffmanTable(tuple(lengths.tolist()))


def lane_size(count: int) -> int:
    """Returns how many symbols a lane has: more in longer streams, which have lanes enough."""
    return min(max(-(-count // LANES), LEAST_LANE), MOST_LANE)


def stream_bytes(symbols: Symbols, table: HuffmanTable) -> bytes:
    """Returns the codes of symbols: the bits of each lane, and all lanes behind each other."""
    if table.only is not None or not len(symbols):
        return b""
    lengths = np.array(table.lengths, np.int64)[symbols]
    each = lane_size(len(symbols))
    lanes = np.add.reduceat(lengths, np.arange(0, len(symbols), each))
    least = int(lanes.min())
    width = int(lanes.max() - least).bit_length()
    sizes = bits_bytes(lanes - least, np.full(len(lanes), width))
    codes = np.array(table.codes(), np.int64)[symbols]
    return number_bytes(least) + bytes([width]) + sizes + bits_bytes(codes, lengths)


def read_stream(cursor: Cursor, table: HuffmanTable, count: int, what: str) -> Symbols:
    """Returns the ``count`` symbols that ``stream_bytes`` wrote.

    Raises:
        UserError: If there are fewer bits than lanes say, or a lane ends elsewhere.
    """
    if table.only is not None or not count:
        return np.full(count, table.only or 0, np.int64)
    each = lane_size(count)
    lanes = -(-count // each)
    least = cursor.number(what, MOST_LANE * LONGEST)
    width = cursor.byte(what)
    if width > 16:
        raise UserError(f"{what} has lanes whose lengths differ by {width} bits, at most 16")
    sizes = least + read_bits(cursor, np.full(lanes, width), what)
    ends = np.cumsum(sizes)
    payload = cursor.take((int(ends[-1]) + 7) // 8, what)
    return decode_lanes(payload, table, count, ends, what)


def decode_lanes(
    payload: bytes, table: HuffmanTable, count: int, ends: Symbols, what: str
) -> Symbols:
    each, longest = lane_size(count), max(table.lengths)
    # A damaged lane runs on by so many bits at most.
    padded = np.frombuffer(payload + bytes(each * longest // 8 + 8), np.uint8).astype(np.uint32)
    windows = padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:]
    symbols, lengths = lookup(table, longest)
    at = np.concatenate([[0], ends[:-1]])
    found = np.empty((each, len(ends)), np.uint16)
    last = at
    short = count - each * (len(ends) - 1)  # symbols of the last lane
    for step in range(each):
        seen = windows[at >> 3] << (at & 7).astype(np.uint32) >> np.uint32(32 - longest)
        found[step] = symbols[seen]
        at = at + lengths[seen]
        if step + 1 == short:
            last = at
    if (at[:-1] != ends[:-1]).any() or last[-1] != ends[-1]:
        raise UserError(f"{what} has a lane that ends elsewhere than it says")
    return found.T.reshape(-1)[:count].astype(np.int64)


def lookup(table: HuffmanTable, longest: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Returns the symbol that any next ``longest`` bits begin with, and its length."""
    order = sorted((n, s) for s, n in enumerate(table.lengths) if n)
    lengths = np.array([length for length, _ in order])
    symbols = np.array([symbol for _, symbol in order], np.uint16)
    times = 1 << longest - lengths
    return np.repeat(symbols, times), np.repeat(lengths, times)
