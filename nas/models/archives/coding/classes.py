"""Classes: weights of about the same chance to be kept, each class learning what that chance is.

What is known of a weight gives features: logarithms of the odds of what surrounds it, against
those of the whole array. Their sum, weighted as the writer found best, puts the weight into one of
64 classes. All is whole numbers, so that writer and reader agree on every machine.

*Source:* the idea is that of context mixing (Mahoney, "Adaptive weighing of context models for
lossless data compression", 2005). *Differs from it:* the weights are fixed, and a class learns
after a step of many weights, so that a step is a few operations on whole arrays.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.adaptive import CHANCES

Logits = NDArray[np.int16]  # logarithms of odds, in sixteenths of a bit
Bits = NDArray[np.uint8]

NUM_CLASSES, CLASS_SHIFT = 64, 3  # a class is 2 ** 3 sixteenths of a bit wide
PRIOR = 64  # what one weight seen counts for
ROUND_SHIFT, MOST_WEIGHT = 4, 32  # weights of features are sixteenths, at most two
LEAST_BLOCK, MOST_BLOCK, GROWTH = 1 << 12, 1 << 19, 4  # weights of a block of rows
CHANCE_DIGITS = 6
PHASES = ((0, 8), (4, 8), (2, 4), (1, 2))  # the first of a step, and the distance to its next


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yields rows in blocks: each a fourth of all before it, so that what is learnt is recent."""
    least, most = (-(-size // columns) for size in (LEAST_BLOCK, MOST_BLOCK))
    at = 0
    while at < rows:
        end = min(rows, at + min(max(at // GROWTH, least), most))
        yield slice(at, end)
        at = end


def log2_sixteenths(counts: NDArray[np.integer]) -> Logits:
    """Returns logarithms of counts from 1 on, exact at powers of two, straight between them.

    >>> log2_sixteenths(np.array([1, 2, 3, 4]))
    array([ 0, 16, 24, 32], dtype=int16)
    """
    fractions, exponents = np.frexp(counts.astype(np.float64))
    return (32 * fractions - 16).astype(np.int16) + (16 * (exponents - 1)).astype(np.int16)


class Odds:
    """Odds of counts against those of a whole array, as logarithms.

    Args:
        count: How many of the array's ``size`` weights are set.
    """

    def __init__(self, count: int, size: int) -> None:
        self.set_prior = 1 + 2 * PRIOR * count // size
        self.clear_prior = 2 * PRIOR + 2 - self.set_prior
        whole = np.array([self.set_prior, self.clear_prior])
        self.base = np.int16(np.subtract(*log2_sixteenths(whole)))

    def of(self, ones: NDArray[np.integer], total: int) -> Logits:
        """Returns the odds of so many set of a total, which is taken to have seen two more."""
        ones = PRIOR * ones.astype(np.int64)
        zeros = PRIOR * total - ones
        found = log2_sixteenths(ones + self.set_prior) - log2_sixteenths(zeros + self.clear_prior)
        return found - self.base

    def classes(self, features: Sequence[Logits], weights: NDArray[np.int16]) -> Bits:
        """Returns the class of each weight, of features that are broadcast to each other."""
        logits = np.asarray(self.base)
        for feature, weight in zip(features, weights, strict=True):
            if weight:
                logits = logits + weighted(feature, weight)
        found = (logits >> CLASS_SHIFT) + np.int16(NUM_CLASSES // 2)
        return np.clip(found, 0, NUM_CLASSES - 1).astype(np.uint8)


def weighted(feature: Logits, weight: np.int16) -> Logits:
    return feature * weight >> ROUND_SHIFT


class LearntClasses:
    """How often the weights of each class are set, at first as its odds say."""

    SURE = 6  # weights that the odds of a class count for

    def __init__(self) -> None:
        # The middle of a class is an odd multiple of a quarter of a power of two, by roots, which
        # every machine rounds alike.
        quarter = np.sqrt(np.sqrt(2.0))
        odds = [
            2.0 ** (index // 2) * (quarter**3 if index % 2 else quarter)
            for index in range(-NUM_CLASSES // 2, NUM_CLASSES // 2)
        ]
        total = PRIOR * self.SURE
        self.ones = [int(total * each / (1 + each)) for each in odds]
        self.total = [total] * NUM_CLASSES

    def chance(self, index: int) -> int:
        """Returns the chance that a weight of a class is set, of ``CHANCES``.

        It has six binary digits, so that there are few models to be made.
        """
        chance = self.ones[index] * CHANCES // self.total[index]
        spare = max(chance.bit_length() - CHANCE_DIGITS, 0)
        return min(max(chance >> spare << spare, 1), CHANCES - 1)

    def learn(self, index: int, ones: int, total: int) -> None:
        self.ones[index] += PRIOR * ones
        self.total[index] += PRIOR * total
