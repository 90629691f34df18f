"""The context coder's form: where weights are not zero, and what they are, with no index at all.

Two streams, each adaptive: places (`nas.models.archives.coding.places`), and values, which stand
in one of a few contexts by how many weights are kept in their row and column: where many are,
large ones are."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.adaptive import (
    LearntSymbols,
    SymbolCoder,
    SymbolReader,
    SymbolWriter,
)
from nas.models.archives.coding.classes import MOST_WEIGHT, Bits, Odds
from nas.models.archives.coding.cursor import Cursor, number_bytes
from nas.models.archives.coding.fitting import fitted_weights
from nas.models.archives.coding.linear_places import column_sums
from nas.models.archives.coding.places import Shape, code_places, num_features, rows_of
from nas.models.archives.paper_form import CodedParts
from nas.models.archives.sharing import Floats, SharedArray
from search_spaces.graphs.errors import UserError

LEAST_RUN, MOST_RUN, GROWTH = 64, 1 << 16, 4  # values that are coded before anything is learnt
NUM_CONTEXTS, CONTEXT_SHIFT = 6, 4  # of values; a context is 2 ** 4 sixteenths of a bit wide
EXPONENT_BITS = 23  # where the exponent of a float32 begins
STREAM_WORD = 4


def context_bytes(shared: SharedArray, shape: Shape) -> bytes:
    """Returns an array of few values as two streams, of places and of values."""
    count = len(shared.places)
    known = np.zeros(shared.size, np.uint8)
    known[shared.places] = 1
    known = known.reshape(rows_of(shape))
    out = [number_bytes(count)]
    if 0 < count < known.size:
        weights = fitted_weights(known, shape, count)
        writer = SymbolWriter()
        code_places(writer, shape, count, weights, known)
        places = writer.content()
        out += [
            weights.astype(np.uint8).tobytes(),
            number_bytes(len(places) // STREAM_WORD),
            places,
        ]
    writer = SymbolWriter()
    contexts = value_contexts(known, shared.places)
    code_values(writer, contexts, shared.num_values, shared.symbols.astype(np.int32) - 1)
    out.append(writer.content())
    return b"".join(out)


def read_context(
    cursor: Cursor, shape: Shape, num_values: int, what: str
) -> tuple[SharedArray, CodedParts]:
    """Returns the array that ``context_bytes`` wrote.

    Raises:
        UserError: If it is damaged.
    """
    start, size = cursor.at, prod(shape)
    count = cursor.number(f"{what}: its weights", size)
    if not count:  # nothing is made of an array of zeros, however large it says it is
        empty = np.zeros(0, np.int64)
        return SharedArray(size, empty, empty, num_values), CodedParts(
            0, 0, cursor.at - start, 0, 0
        )
    set_bits, index_bytes = np.ones(rows_of(shape), np.uint8), 0
    if count < size:
        weights = np.frombuffer(cursor.take(num_features(shape), what), np.uint8).astype(np.int16)
        if weights.max() > MOST_WEIGHT:
            raise UserError(f"{what}: its features weigh more than {MOST_WEIGHT} sixteenths")
        words = cursor.number(f"{what}: the stream of places", cursor.left // STREAM_WORD)
        index_bytes = STREAM_WORD * words
        reader = SymbolReader(cursor.take(index_bytes, what), f"{what}: the stream of places")
        set_bits = code_places(reader, shape, count, weights, None)
        reader.end()
    places = np.flatnonzero(set_bits)
    if len(places) != count:
        raise UserError(f"{what}: it has {len(places)} weights, not {count}")
    tables = cursor.at - start - index_bytes
    if not num_values:
        raise UserError(f"{what}: it has {count} weights and no values")
    value_bytes = cursor.left
    reader = SymbolReader(cursor.rest(), f"{what}: the stream of values")
    values = code_values(reader, value_contexts(set_bits, places), num_values, None)
    reader.end()
    shared = SharedArray(size, places, values + np.int64(1), num_values)
    return shared, CodedParts(count, 0, tables, value_bytes, index_bytes)


def value_contexts(set_bits: Bits, places: NDArray[np.int64]) -> Bits:
    """Returns a context for each weight that is set, by its row's and its column's count.

    Args:
        set_bits: Which weights are set (rows, columns).
        places: Where, in C order.
    """
    if len(places) in (0, set_bits.size):
        return np.zeros(len(places), np.uint8)
    rows, columns = set_bits.shape
    odds = Odds(len(places), set_bits.size)
    in_row = set_bits.sum(1, dtype=np.int64)
    by_row = odds.of(in_row, columns)
    by_column = odds.of(column_sums(set_bits), rows)
    starts = np.repeat(np.arange(rows) * columns, in_row)
    together = np.repeat(by_row, in_row) + by_column[places - starts]
    found = (together >> CONTEXT_SHIFT) + np.int16(NUM_CONTEXTS // 2)
    return np.clip(found, 0, NUM_CONTEXTS - 1).astype(np.uint8)


def code_values(
    coder: SymbolCoder, contexts: Bits, num_values: int, known: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    """Returns a value for each context, from 0 on; a writer is given them.

    They are coded in runs, each somewhat longer than the one before: context by context.
    """
    found = np.zeros(len(contexts), np.int32)
    if num_values < 2:
        return found
    learnt, at = LearntSymbols(NUM_CONTEXTS, num_values), 0
    while at < len(contexts):
        end = at + min(max(at // GROWTH, LEAST_RUN), MOST_RUN)
        here = contexts[at:end]
        for context in np.flatnonzero(np.bincount(here)).tolist():
            members = at + np.flatnonzero(here == context)
            given = None if known is None else known[members]
            symbols = coder.code(learnt.model(context), len(members), given)
            learnt.learn(context, symbols)
            found[members] = symbols
        at = end
    return found


def exponent_bytes(array: Floats) -> bytes:
    """Returns float32 numbers with their exponents coded: signs and fractions as they are."""
    words = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    exponents = (words >> EXPONENT_BITS & 255).astype(np.int32)
    least, most = (int(exponents.min()), int(exponents.max())) if len(words) else (0, 0)
    writer = SymbolWriter()
    contexts = np.zeros(len(words), np.uint8)
    code_values(writer, contexts, most - least + 1, exponents - least)
    signs = words >> 31 << EXPONENT_BITS
    rest = (words & (1 << EXPONENT_BITS) - 1 | signs).astype("<u4").view(np.uint8).reshape(-1, 4)
    return bytes([least, most]) + rest[:, :3].tobytes() + writer.content()


def read_exponents(cursor: Cursor, count: int, what: str) -> Floats:
    """Returns the numbers, flat, that ``exponent_bytes`` wrote.

    Raises:
        UserError: If it is damaged.
    """
    least, most = cursor.byte(what), cursor.byte(what)
    if least > most:
        raise UserError(f"{what} has exponents from {least} to {most}")
    rest = np.frombuffer(cursor.take(3 * count, what), np.uint8).reshape(-1, 3)
    reader = SymbolReader(cursor.rest(), f"{what}: the stream of exponents")
    exponents = code_values(reader, np.zeros(count, np.uint8), most - least + 1, None) + least
    reader.end()
    padded = np.pad(rest, ((0, 0), (0, 1))).astype(np.uint8)
    words = np.ascontiguousarray(padded).view("<u4").reshape(-1).astype(np.uint32)
    signs = words >> EXPONENT_BITS << 31
    fractions = words & np.uint32((1 << EXPONENT_BITS) - 1)
    return (signs | fractions | exponents.astype(np.uint32) << EXPONENT_BITS).view(np.float32)
