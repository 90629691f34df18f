"""Places in a convolution: which weights are kept, by column, channel, row and kernel.

The weights lie as (O, K, I). Some rows O are coded at a time, and of these every eighth tap K,
then those midway between, and so on, so that after the first it is known about how dense each row
and each kernel (O, I) is.

Shape letters: O output channels, K taps of a kernel, I input channels of a group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nas.models.archives.coding.classes import PHASES, Bits, Logits, Odds, blocks

NOTHING = np.zeros((1, 1, 1), np.int16)


@dataclass(frozen=True, slots=True)
class TapsStep:
    """Weights that are coded at once.

    Attributes:
        features: Of the column (K, I) and of the channel I, by all rows before; of the row, and of
            the kernel, by the taps that are known of them. Broadcast to (O, K, I).
    """

    rows: slice
    taps: slice
    features: tuple[Logits, Logits, Logits, Logits]


class KernelScan:
    """The steps of a convolution, each of which is learnt from before the next is taken.

    Args:
        shape: (O, K, I).
        count: How many of its weights are set.
    """

    def __init__(self, shape: tuple[int, int, int], count: int) -> None:
        self.map = np.zeros(shape, np.uint8)
        self.odds = Odds(count, self.map.size)

    def steps(self) -> Iterator[TapsStep]:
        """Yields the steps; ``learn`` takes the bits of one before the next."""
        rows, taps, channels = self.map.shape
        in_column = np.zeros((taps, channels), np.int64)
        for block in blocks(rows, taps * channels):
            by_column = self.odds.of(in_column, block.start)
            by_channel = self.odds.of(in_column.sum(0), block.start * taps)
            for first, distance in PHASES:
                if first < taps:
                    phase = slice(first, taps, distance)
                    inside = self.of_kernels(block, 2 * first)
                    yield TapsStep(block, phase, (by_column[phase], by_channel, *inside))
            in_column += self.map[block].sum(0, dtype=np.int64)

    def of_kernels(self, block: slice, distance: int) -> tuple[Logits, Logits]:
        """Returns the features of rows and kernels, by every ``distance``-th tap; 0: by none."""
        if not distance:
            return NOTHING, NOTHING
        known = self.map[block, ::distance]
        in_kernel = known.sum(1, dtype=np.int32)
        in_row = in_kernel.sum(1, dtype=np.int64)
        by_row = self.odds.of(in_row, known[0].size)[:, None, None]
        each = self.odds.of(np.arange(known.shape[1] + 1), known.shape[1])
        return by_row, each[in_kernel][:, None]

    def learn(self, step: TapsStep, bits: Bits) -> None:
        """Takes in the bits of a step, (O, K, I) flat."""
        place = self.map[step.rows, step.taps]
        place[...] = bits.reshape(place.shape)
