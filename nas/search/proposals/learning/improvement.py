"""Improvement: the hypervolume that a network is expected to add to a front.

Everything is in losses: smaller is better, each objective a column.

Source: Emmerich, Giannakoglou, Naujoks, "Single- and multiobjective evolutionary optimization
assisted by Gaussian random field metamodels", IEEE TEVC 2006, https://doi.org/10.1109/TEVC.2005.859463.
For two objectives the expectation is exact, strip by strip: what is expected to be gained in one
objective and in the other multiply, as they are believed independently.
Beyond two it is by Monte Carlo over draws and over directions from the corner: Zhang and Golovin,
"Random hypervolume scalarizations", ICML 2020, https://arxiv.org/abs/2006.04655, lemma 5.
"""

from collections.abc import Sequence
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DIRECTIONS = 96
DRAWS = 16


class Believed(Protocol):
    """What is believed of one loss of n networks."""

    def below(self, levels: Array) -> Array:
        """Returns how far the losses are expected to be below levels, (n, levels)."""
        ...

    def at(self, quantile: np.float64) -> Array:
        """Returns the losses that lie so many deviations above the expected ones, (n)."""
        ...


def expected_improvement(
    believed: Sequence[Believed], front: Array, corner: Array, rng: np.random.Generator
) -> Array:
    """Returns the hypervolume up to ``corner`` that each of n networks is expected to add.

    Args:
        believed: Of each objective.
        front: Losses of what was found, (points, objectives).
    """
    inside = front[(front < corner).all(axis=1)]
    if len(inside):
        inside = inside[np.asarray(moocore.is_nondominated(inside), dtype=bool)]
    if len(corner) == 1:
        return believed[0].below(inside.min(axis=0, initial=corner[0]))[:, 0]
    if len(corner) == 2:
        return by_strips(believed, inside, corner)
    return by_directions(believed, inside, corner, rng)


def by_strips(believed: Sequence[Believed], front: Array, corner: Array) -> Array:
    """Exact for two objectives; strips lie between neighbours of the front."""
    front = front[np.argsort(front[:, 1])]
    levels = np.append(corner[0], front[:, 0])  # what is to be beaten left of each edge
    edges = np.append(front[:, 1], corner[1])
    widths = np.diff(believed[1].below(edges), axis=1, prepend=0.0)
    gained: Array = (believed[0].below(levels) * widths).sum(axis=1)
    return gained


def by_directions(
    believed: Sequence[Believed], front: Array, corner: Array, rng: np.random.Generator
) -> Array:
    """By Monte Carlo, without the constant that only scales it."""
    directions = np.abs(rng.normal(size=(DIRECTIONS, len(corner))))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def reach(losses: Array) -> Array:
        gains = np.maximum(corner - losses, 0)
        lengths: Array = (gains[:, None, :] / directions).min(axis=2) ** len(corner)
        return lengths

    reached = reach(front).max(axis=0, initial=0.0)
    gained = []
    for draws in rng.normal(size=(DRAWS, len(corner))):
        losses = np.stack([b.at(d) for b, d in zip(believed, draws, strict=True)], axis=1)
        gained.append(np.maximum(reach(losses) - reached, 0).mean(axis=1))
    return np.mean(gained, axis=0)
