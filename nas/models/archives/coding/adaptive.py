"""Adaptive coding: runs of symbols, each run with one model, on the ANS coder of `constriction`.

A model is whole numbers alone, so that writer and reader agree on every machine: ``n`` weights
that sum to ``2 ** 24 - n``; a symbol has its weight plus one of ``2 ** 24`` parts. Writer and
reader have one method of one meaning, ``code``, which takes what is known and returns what is
so: what learns from symbols is written once, and cannot come to differ between the two.

*Source:* Duda, "Asymmetric numeral systems", 2013, https://arxiv.org/abs/1311.2540; Bamler,
"Understanding entropy coding with asymmetric numeral systems", 2022,
https://arxiv.org/abs/2201.01741, whose library this is.
"""

from functools import lru_cache
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

Categorical = constriction.stream.model.Categorical
AnsCoder = constriction.stream.stack.AnsCoder

Distribution = Any  # one of the library's, which has no types
PARTS = 1 << 24
CHANCES = 1 << 13  # of a bit: how finely its probability is told
AT_ONCE = 4  # bits that are coded as one symbol

Bits = NDArray[np.uint8]
Counts = NDArray[np.int64]
# Four bits as a symbol: the first is the highest.
PATTERNS = (np.arange(16)[:, None] >> np.arange(AT_ONCE)[::-1] & 1).astype(np.uint8)
PLACES = np.array([8, 4, 2, 1], np.int32)
AS_WORDS = PATTERNS.view(np.uint32).reshape(-1)


class SymbolCoder(Protocol):
    """What codes runs of symbols, in one direction or the other."""

    def code(
        self, model: Distribution, count: int, known: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Returns the next ``count`` symbols; a writer is given them."""


class SymbolWriter:
    """Keeps runs, and codes them from the last to the first: ANS is a stack."""

    def __init__(self) -> None:
        self.runs: list[tuple[NDArray[np.int32], Distribution]] = []

    def code(
        self, model: Distribution, count: int, known: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        assert known is not None
        assert len(known) == count
        self.runs.append((np.ascontiguousarray(known, np.int32), model))
        return known

    def content(self) -> bytes:
        coder = AnsCoder()
        for symbols, model in reversed(self.runs):
            coder.encode_reverse(symbols, model)
        return coder.get_compressed().astype("<u4").tobytes()


class SymbolReader:
    """Reads what a `SymbolWriter` wrote.

    Raises:
        UserError: If it is no such stream.
    """

    def __init__(self, content: bytes, what: str) -> None:
        self.what = what
        if len(content) % 4:
            raise UserError(f"{what} must be whole words of 4 bytes, got {len(content)} bytes")
        words = np.frombuffer(content, "<u4").astype(np.uint32)
        if len(words) and not words[-1]:
            raise UserError(f"{what} must not end with a word of zeros")
        self.coder = AnsCoder(words)

    def code(
        self, model: Distribution, count: int, known: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        assert known is None
        return self.coder.decode(model, count)

    def end(self) -> None:
        """Raises UserError if not all was read."""
        if not self.coder.is_empty():
            raise UserError(f"{self.what} does not end where its symbols do")


def model_of_counts(counts: Counts) -> Distribution:
    """Returns the model of symbols that were counted; each must have been once."""
    free = PARTS - len(counts)
    weights = counts * free // counts.sum()
    weights[weights.argmax()] += free - weights.sum()
    return Categorical(weights.astype(np.float64), perfect=False)


@lru_cache(CHANCES)
def bits_model(chance: int, count: int) -> Distribution:
    """Returns the model of so many bits at once, each set with ``chance`` of ``CHANCES``."""
    each = [chance**ones * (CHANCES - chance) ** (count - ones) for ones in range(count + 1)]
    free, whole = PARTS - (1 << count), CHANCES**count
    parts = np.array([part * free // whole for part in each], np.int64)
    weights = parts[[bin(pattern).count("1") for pattern in range(1 << count)]]
    weights[weights.argmax()] += free - weights.sum()
    return Categorical(weights.astype(np.float64), perfect=False)


def code_bits(coder: SymbolCoder, chance: int, count: int, known: Bits | None) -> Bits:
    """Returns bits of one chance; four at a time, and the last ones one at a time."""
    whole = count // AT_ONCE * AT_ONCE
    found = np.empty(count, np.uint8)
    if whole:
        fours = (
            None if known is None else known[:whole].reshape(-1, AT_ONCE).astype(np.int32) @ PLACES
        )
        symbols = coder.code(bits_model(chance, AT_ONCE), whole // AT_ONCE, fours)
        found[:whole] = AS_WORDS[symbols].view(np.uint8)
    if whole < count:
        single = None if known is None else known[whole:].astype(np.int32)
        found[whole:] = coder.code(bits_model(chance, 1), count - whole, single)
    return found


class LearntSymbols:
    """Chances of symbols in contexts, learnt from those that were coded.

    A context that has seen little leans on all contexts together, and these on their neighbours
    among the symbols, which stand for near numbers.
    """

    SEEN, LEANING = 32, 24  # what a symbol seen counts for; symbols that all contexts count for

    def __init__(self, num_contexts: int, num_symbols: int) -> None:
        self.seen = np.zeros((num_contexts, num_symbols), np.int64)

    def model(self, context: int) -> Distribution:
        """Returns the model of the next symbols of a context."""
        together = self.seen.sum(0)
        smooth = 14 * together + 1
        smooth[1:] += together[:-1]
        smooth[:-1] += together[1:]
        leaning = smooth * (self.SEEN * self.LEANING) // smooth.sum() + 1
        return model_of_counts(self.SEEN * self.seen[context] + leaning)

    def learn(self, context: int, symbols: NDArray[np.int32]) -> None:
        self.seen[context] += np.bincount(symbols, minlength=self.seen.shape[1])
