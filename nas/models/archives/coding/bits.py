"""Bits: whole numbers of given widths behind each other, the highest bit of each first."""

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.cursor import Cursor

Numbers = NDArray[np.int64]


def bits_bytes(numbers: Numbers, widths: Numbers) -> bytes:
    """Returns numbers in as many bits as each has, padded to a whole byte with zeros.

    >>> bits_bytes(np.array([1, 5, 0]), np.array([1, 3, 2])).hex()
    'd0'
    """
    ends = np.cumsum(widths)
    bits = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    starts = ends - widths
    for index in range(int(widths.max(initial=0))):
        longer = np.flatnonzero(widths > index)
        bits[starts[longer] + index] = numbers[longer] >> widths[longer] - 1 - index & 1
    return np.packbits(bits).tobytes()


def read_bits(cursor: Cursor, widths: Numbers, what: str) -> Numbers:
    """Returns the numbers that ``bits_bytes`` wrote.

    Raises:
        UserError: If there are fewer bits.
    """
    count = int(widths.sum())
    content = np.frombuffer(cursor.take((count + 7) // 8, what), np.uint8)
    bits = np.unpackbits(content).astype(np.int64)
    starts = np.cumsum(widths) - widths
    numbers = np.zeros(len(widths), np.int64)
    for index in range(int(widths.max(initial=0))):
        longer = np.flatnonzero(widths > index)
        numbers[longer] = numbers[longer] << 1 | bits[starts[longer] + index]
    return numbers
