"""The ANS streams against a decoder of a dozen lines that knows whole numbers alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.archives.coding.adaptive import (
    CHANCES,
    PARTS,
    LearntSymbols,
    SymbolReader,
    SymbolWriter,
    bits_model,
    code_bits,
    model_of_counts,
)
from search_spaces.graphs.errors import UserError


def weights_of(counts: np.ndarray) -> list[int]:
    """The parts of ``2 ** 24`` that each symbol has, in whole numbers of Python."""
    free, total = PARTS - len(counts), int(counts.sum())
    weights = [int(count) * free // total for count in counts]
    weights[weights.index(max(weights))] += free - sum(weights)
    return [weight + 1 for weight in weights]


def slow_symbols(content: bytes, models: list[tuple[list[int], int]]) -> list[list[int]]:
    """What runs of symbols a stream holds, with the parts and the length of each."""
    words = np.frombuffer(content, "<u4").tolist()
    state = words.pop() if words else 0
    state = state << 32 | words.pop() if words else state
    runs = []
    for parts, count in models:
        run = []
        for _ in range(count):
            place, symbol = state % PARTS, 0
            while place >= parts[symbol]:
                place -= parts[symbol]
                symbol += 1
            run.append(symbol)
            state = state // PARTS * parts[symbol] + place
            if state < 1 << 32 and words:
                state = state << 32 | words.pop()
        runs.append(run)
    assert state == 0
    assert not words
    return runs


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 10**6), min_size=2, max_size=20), min_size=1, max_size=5),
    st.integers(0, 999),
)
def test_streams_are_what_whole_numbers_make_of_them(counts: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer, models, wanted = SymbolWriter(), [], []
    for each in counts:
        symbols = rng.integers(0, len(each), 50).astype(np.int32)
        writer.code(model_of_counts(np.array(each)), 50, symbols)
        models.append((weights_of(np.array(each)), 50))
        wanted.append(symbols.tolist())

    assert slow_symbols(writer.content(), models) == wanted


@settings(max_examples=40, deadline=None)
@given(st.integers(1, CHANCES - 1), st.integers(0, 70), st.integers(0, 999))
def test_bits_come_back_at_any_chance(chance: int, count: int, seed: int) -> None:
    bits = (np.random.default_rng(seed).random(count) * CHANCES < chance).astype(np.uint8)
    writer = SymbolWriter()
    code_bits(writer, chance, count, bits)
    reader = SymbolReader(writer.content(), "x")

    assert code_bits(reader, chance, count, None).tolist() == bits.tolist()
    reader.end()


def test_four_bits_at_once_cost_what_four_bits_cost() -> None:
    bits = (np.random.default_rng(0).random(40_000) < 0.1).astype(np.uint8)
    four, one = SymbolWriter(), SymbolWriter()
    code_bits(four, CHANCES // 10, len(bits), bits)
    one.code(bits_model(CHANCES // 10, 1), len(bits), bits.astype(np.int32))

    assert abs(len(four.content()) - len(one.content())) <= 8


def test_learnt_symbols_cost_little_more_than_their_entropy() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(16))
    symbols = rng.choice(16, 20_000, p=chances).astype(np.int32)
    writer, learnt = SymbolWriter(), LearntSymbols(1, 16)
    for run in np.split(symbols, 100):
        writer.code(learnt.model(0), len(run), run)
        learnt.learn(0, run)
    counts = np.unique(symbols, return_counts=True)[1] / len(symbols)
    entropy = -(counts * np.log2(counts)).sum() * len(symbols) / 8

    assert entropy < len(writer.content()) < 1.01 * entropy + 16


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"abc", "whole words of 4 bytes"), (bytes(8), "must not end with a word of zeros")],
)
def test_bytes_that_are_no_stream_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        SymbolReader(content, "x")


def test_a_stream_that_goes_on_is_refused() -> None:
    writer = SymbolWriter()
    code_bits(writer, CHANCES // 2, 400, np.tile(np.array([0, 1, 1, 0], np.uint8), 100))
    reader = SymbolReader(writer.content(), "its stream")
    code_bits(reader, CHANCES // 2, 100, None)

    with pytest.raises(UserError, match="its stream does not end where its symbols do"):
        reader.end()
