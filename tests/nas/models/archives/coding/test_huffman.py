"""Huffman codes against hand arithmetic, a decoder that walks bit by bit, and the entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.archives.coding.cursor import Cursor
from nas.models.archives.coding.huffman import (
    LONGEST,
    HuffmanTable,
    huffman_table,
    lane_size,
    read_stream,
    read_table,
    stream_bytes,
    table_bytes,
)
from search_spaces.graphs.errors import UserError


def test_a_table_is_what_a_hand_makes_of_it() -> None:
    # a 45, b 13, c 12, d 16, e 9, f 5: Cormen et al., Introduction to Algorithms, figure 16.5.
    table = huffman_table(np.array([45, 13, 12, 16, 9, 5]))

    assert table.lengths == (1, 3, 3, 3, 4, 4)
    assert [f"{code:0{n}b}" for code, n in zip(table.codes(), table.lengths, strict=True)] == [
        *("0", "100", "101", "110", "1110", "1111")
    ]


def walked(
    content: bytes, table: HuffmanTable, starts: list[int], each: int, count: int
) -> list[int]:
    """The slow decoder: lane by lane, bit by bit, against a dictionary of codes."""
    bits = "".join(f"{byte:08b}" for byte in content)
    words = {
        f"{code:0{n}b}": symbol
        for symbol, (code, n) in enumerate(zip(table.codes(), table.lengths, strict=True))
        if n
    }
    found = []
    for lane, start in enumerate(starts):
        at = start
        for _ in range(min(each, count - lane * each)):
            end = next(end for end in range(at + 1, len(bits) + 1) if bits[at:end] in words)
            found.append(words[bits[at:end]])
            at = end
    return found


def test_lanes_decode_as_a_walk_along_the_bits() -> None:
    rng = np.random.default_rng(0)
    symbols = rng.geometric(0.3, 500).astype(np.int64)
    table = huffman_table(np.bincount(symbols))
    lengths = np.array(table.lengths)[symbols]
    each = lane_size(len(symbols))
    starts = (np.cumsum(lengths) - lengths)[::each].tolist()
    content = stream_bytes(symbols, table)
    payload = content[len(content) - (int(lengths.sum()) + 7) // 8 :]

    assert walked(payload, table, starts, each, 500) == symbols.tolist()
    assert read_stream(Cursor(content), table, 500, "x").tolist() == symbols.tolist()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 300), st.floats(0.01, 3), st.integers(0, 999))
def test_streams_and_tables_come_back(count: int, most: int, skew: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = np.minimum(rng.exponential(most / 3 * skew, count).astype(np.int64), most - 1)
    table = huffman_table(np.bincount(symbols, minlength=1))

    cursor = Cursor(table_bytes(table) + stream_bytes(symbols, table))
    found = read_table(cursor, "x")

    assert read_stream(cursor, found, count, "x").tolist() == symbols.tolist()
    cursor.end("x")
    assert found.lengths == table.lengths


def test_codes_are_within_a_bit_of_the_entropy_and_never_below() -> None:
    counts = np.random.default_rng(0).geometric(0.02, 64)
    chances = counts / counts.sum()
    entropy = -(chances * np.log2(chances)).sum()

    mean = (chances * np.array(huffman_table(counts).lengths)).sum()

    assert entropy <= mean < entropy + 1


def test_rare_symbols_get_no_longer_codes_than_the_table_has_bits() -> None:
    counts = np.array([1, 1, *np.cumprod(np.full(30, 2))])  # lengths of 31 if nothing limits them

    table = huffman_table(counts)

    assert max(table.lengths) <= LONGEST
    assert sum(2.0**-length for length in table.lengths) == 1


def test_a_single_symbol_takes_no_bits() -> None:
    table = huffman_table(np.array([0, 0, 9]))

    assert stream_bytes(np.full(9, 2), table) == b""
    assert read_stream(Cursor(b""), table, 9, "x").tolist() == [2] * 9


@pytest.mark.parametrize(
    "lengths",
    [(1, 1, 1), (2, 2, 2), (1, 2), (15, 15), (1, 0, 0), (0, 0)],
    ids=str,
)
def test_tables_that_are_no_prefix_code_are_refused(lengths: tuple[int, ...]) -> None:
    content = table_bytes(HuffmanTable(lengths))

    with pytest.raises(UserError, match="no prefix code"):
        read_table(Cursor(content), "its table")


def test_lanes_that_end_elsewhere_are_refused() -> None:
    symbols = np.random.default_rng(0).integers(0, 5, 300)
    table = huffman_table(np.array([5, 4, 3, 2, 1]))
    right = stream_bytes(symbols, table)

    wrong = 0
    for at in range(len(right)):
        changed = bytearray(right)
        changed[at] ^= 1
        try:
            found = read_stream(Cursor(bytes(changed)), table, 300, "x")
        except UserError:
            wrong += 1
        else:
            assert found.shape == (300,)

    assert wrong > 0  # codes often fall into step again, and then only symbols are other ones
