"""Greedy: which networks to take together, each chosen as if those before were as believed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.proposals.learning.improvement import expected_improvement
from nas.search.proposals.learning.losses import LossPosterior

Array = NDArray[np.float64]


def greedy(
    posteriors: Sequence[LossPosterior],
    chances: Array,
    front: Array,
    corner: Array,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Returns the places of up to ``count`` networks, best first; none that is to gain nothing.

    Args:
        posteriors: Of each loss, at the networks; they are changed.
        chances: How likely each network keeps all constraints.
        front: Losses of what was found.
    """
    means = np.stack([each.mean for each in posteriors], axis=1)
    left = np.ones(len(means), dtype=bool)
    taken: list[int] = []
    while len(taken) < count and left.any():
        gains = expected_improvement(posteriors, front, corner, rng) * chances
        at = int(np.where(left, gains, -np.inf).argmax())
        if gains[at] <= 0 or not np.isfinite(gains[at]):
            break
        taken.append(at)
        left[at] = False
        front = np.vstack([front, means[at]])
        for posterior in posteriors:
            posterior.believe(at)
    return np.array(taken, dtype=np.intp)
