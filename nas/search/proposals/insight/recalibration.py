"""Recalibration: doubts as wide as trials that were told before they ran have shown them to be.

A regression that believes what it was fitted to too much doubts too little, most of all of the
networks that look best to it. How many doubts finished trials were off says by how much, whatever
the reason; people are shown doubts so multiplied. What a search proposes does not depend on it.

Source: Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, "Distribution-free predictive inference for
regression", JASA 2018, https://arxiv.org/abs/1604.04173, sections 2.2 and 5.2 (residuals divided
by their believed spread, and the order statistic of them). Differs from the paper: trials that
follow each other are no exchangeable ones, so the share is promised only as far as those to come
are as those before.
"""

import numpy as np
from numpy.typing import NDArray

ONE = 0.6827  # of a normal distribution, within one deviation
FEWEST = 10  # trials that were told, to change doubts by them


def doubts_times(distances: NDArray[np.float64]) -> float:
    """Returns what doubts are to be multiplied by, for ``ONE`` of such trials to lie within one.

    At least 1: doubts that were too large may have been so by luck. 1 where trials are too few.

    Args:
        distances: How many doubts each trial was off.

    >>> doubts_times(np.arange(1.0, 20.0)), doubts_times(np.arange(1.0, 10.0))
    (14.0, 1.0)
    """
    if len(distances) < FEWEST:
        return 1.0
    rank = int(np.ceil(ONE * (len(distances) + 1)))  # one more: that to come
    return max(1.0, float(np.sort(distances)[rank - 1]))


def times_before(distances: NDArray[np.float64], blocks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns what the doubt of each trial is multiplied by, by those of blocks before its own."""
    found = {block: doubts_times(distances[blocks < block]) for block in np.unique(blocks)}
    return np.array([found[block] for block in blocks])
