"""Relative indices: where the weights are that are not zero, as distances of a fixed width.

*Source:* Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, section 2
and figure 2: each index is kept as the difference to the one before, in a fixed number of bits; a
difference that is too large for them is bridged by filler zeros.

*Differs from the paper:* the first difference counts from the place *before* the first weight, so
that every difference is at least 1 and ``bits`` reach ``2 ** bits`` places; the paper's figure
counts from the first weight, which then could not be kept itself.
"""

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

FILLER = 0  # the symbol of a filler zero


def relative_entries(
    places: NDArray[np.int64], symbols: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the differences, less one, and the symbols of all entries, fillers among them.

    Args:
        places: Where numbers are that are not zero, rising.
        symbols: What they are, from 1 on.

    The example of the paper's figure 2, a span of ``2 ** 3`` (its first difference is 1):

    >>> gaps, symbols = relative_entries(np.array([1, 4, 15]), np.array([7, 8, 9]), 3)
    >>> gaps + 1, symbols
    (array([2, 3, 8, 3]), array([7, 8, 0, 9]))
    """
    span = 1 << bits
    distances = np.diff(places, prepend=-1)
    fillers = (distances - 1) // span
    ends = np.cumsum(fillers + 1) - 1
    count = int(ends[-1]) + 1 if len(ends) else 0
    gaps = np.full(count, span - 1, np.int64)
    gaps[ends] = distances - 1 - fillers * span
    entries = np.full(count, FILLER, np.int64)
    entries[ends] = symbols
    return gaps, entries


def absolute_places(
    gaps: NDArray[np.int64], symbols: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns what ``relative_entries`` was given.

    Raises:
        UserError: If they lead beyond the ``size`` places that there are.
    """
    places = np.cumsum(gaps + 1) - 1
    if len(places) and places[-1] >= size:
        raise UserError(f"its indices lead to place {places[-1]} of {size}")
    kept = symbols != FILLER
    return places[kept], symbols[kept]
