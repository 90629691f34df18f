"""Sparsity of an array: how many weights it keeps, in how many different values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.precision import LARGEST_CODEBOOK, VALUE_BITS, Sparsity

FIRST = 4096  # weights that are looked at before all are


def sparsity_of(weight: NDArray[Any]) -> Sparsity:
    """Returns the tightest bounds that hold for ``weight``."""
    kept = weight[weight != 0]
    few = len(np.unique(kept[:FIRST])) <= 1 << LARGEST_CODEBOOK  # else all would tell no more
    count = len(np.unique(kept)) if few else FIRST
    bits = next((bits for bits in VALUE_BITS if count <= 1 << bits), 32)
    return Sparsity(len(kept) / weight.size, bits)
