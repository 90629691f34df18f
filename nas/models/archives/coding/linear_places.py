"""Places in a linear layer: which weights are kept, by how many are in their row and column.

Some rows are coded at a time. Their columns are sorted by how many are set in each, in all rows
before, and taken in fours: four weights of about the same chance are one symbol. Every eighth four
is coded first, then those midway between, and so on, so that after the first it is known about how
dense a row is.

Shape letters: O outputs, F features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.adaptive import AS_WORDS, AT_ONCE, PATTERNS
from nas.models.archives.coding.classes import PHASES, Bits, Logits, Odds, blocks

SET_BITS = PATTERNS.sum(1, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class FoursStep:
    """Weights that are coded at once.

    Attributes:
        rows: Of the layer.
        columns: Of the layer, (fours, weights of one): four, or one where fewer are left.
        features: Of the column, and of the row; broadcast to (rows, fours).
    """

    rows: slice
    columns: NDArray[np.int64]
    features: tuple[Logits, Logits]

    @property
    def width(self) -> int:
        return self.columns.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, len(self.columns)


class LinearScan:
    """The steps of a linear layer, each of which is learnt from before the next is taken.

    Args:
        count: How many of its weights are set.
    """

    def __init__(self, shape: Sequence[int], count: int) -> None:
        self.map = np.zeros(shape, np.uint8)
        self.odds = Odds(count, self.map.size)
        self.in_column = np.zeros(shape[1], np.int64)

    def steps(self) -> Iterator[FoursStep]:
        """Yields the steps; ``learn`` takes the symbols of one before the next."""
        rows, columns = self.map.shape
        whole = columns // AT_ONCE
        for block in blocks(rows, columns):
            by_column = self.odds.of(self.in_column, block.start)
            order = np.argsort(by_column, kind="stable")
            by_column = by_column[order]
            fours = order[: whole * AT_ONCE].reshape(whole, AT_ONCE)
            by_four = by_column[: whole * AT_ONCE].reshape(whole, AT_ONCE).sum(1, dtype=np.int16)
            self.sorted = np.empty((block.stop - block.start, columns), np.uint8)
            self.in_row = np.zeros(len(self.sorted), np.int64)
            known, nothing = 0, np.zeros((1, 1), np.int16)
            for first, distance in PHASES:
                phase = slice(first, whole, distance)
                if first < whole:
                    by_row = self.odds.of(self.in_row, known)[:, None] if known else nothing
                    self.phase = phase
                    yield FoursStep(block, fours[phase], (by_four[phase] >> 2, by_row))
                    known += AT_ONCE * len(fours[phase])
            if whole * AT_ONCE < columns:
                by_row = self.odds.of(self.in_row, known)[:, None] if known else nothing
                rest = slice(whole * AT_ONCE, columns)
                yield FoursStep(block, order[rest][:, None], (by_column[rest], by_row))
            self.in_column[order] += column_sums(self.sorted)
            back = np.empty_like(order)
            back[order] = np.arange(columns)
            np.take(self.sorted, back, 1, out=self.map[block], mode="clip")

    def learn(self, step: FoursStep, symbols: Bits) -> None:
        """Takes in the symbols of a step, (rows, fours) flat."""
        if step.width == 1:
            self.sorted[:, -len(step.columns) :] = symbols.reshape(step.shape)
            return
        whole = self.sorted.shape[1] // AT_ONCE * AT_ONCE
        fours = self.sorted[:, :whole].view(np.uint32)
        fours[:, self.phase] = np.take(AS_WORDS, symbols).reshape(step.shape)
        self.in_row += np.take(SET_BITS, symbols).reshape(step.shape).sum(1, dtype=np.int64)

    def symbols(self, step: FoursStep, known: Bits) -> Bits:
        """Returns the symbols of a step of a layer that is known (O, F), flat."""
        bits = known[step.rows][:, step.columns.reshape(-1)].reshape(-1, step.width)
        return bits @ (1 << np.arange(step.width, dtype=np.uint8)[::-1])


def column_sums(bits: Bits) -> NDArray[np.int64]:
    """Returns how many bits of each column are set; several times faster than numpy's own sum."""
    parts = [bits[at : at + 255] for at in range(0, len(bits), 255)]
    return sum((part.sum(0, dtype=np.uint8) for part in parts), np.zeros(bits.shape[1], np.int64))
