"""Improvement: the hypervolume that a network is expected to add to a front.

Everything is in losses: smaller is better, each objective a column.

Source: Emmerich, Giannakoglou, Naujoks, "Single- and multiobjective evolutionary optimization
assisted by Gaussian random field metamodels", IEEE TEVC 2006, https://doi.org/10.1109/TEVC.2005.859463.
For two objectives the expectation is exact, strip by strip: what is expected to be gained in one
objective and in the other multiply, as they are believed independently.
Beyond two it is by Monte Carlo over draws and over directions from the corner: Zhang and Golovin,
"Random hypervolume scalarizations", ICML 2020, https://arxiv.org/abs/2006.04655, lemma 5.
"""

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
DIRECTIONS = 96
DRAWS = 16


def below(levels: Array, mean: Array, deviation: Array) -> Array:
    """Returns how far a normal value is expected to be below levels, (values, levels)."""
    gap = levels[None, :] - mean[:, None]
    spread = np.maximum(deviation, 1e-12)[:, None]
    z = gap / spread
    density = np.exp(-0.5 * np.minimum(z**2, 1400)) / np.sqrt(2 * np.pi)
    return gap * ndtr(z) + spread * density


def expected_improvement(
    mean: Array, deviation: Array, front: Array, corner: Array, rng: np.random.Generator
) -> Array:
    """Returns the hypervolume up to ``corner`` that each of n networks is expected to add.

    Args:
        mean, deviation: Of each network's losses, (n, objectives).
        front: Losses of what was found, (points, objectives).
    """
    inside = front[(front < corner).all(axis=1)]
    if len(inside):
        inside = inside[np.asarray(moocore.is_nondominated(inside), dtype=bool)]
    if len(corner) == 1:
        return below(inside.min(axis=0, initial=corner[0]), mean[:, 0], deviation[:, 0])[:, 0]
    if len(corner) == 2:
        return by_strips(mean, deviation, inside, corner)
    return by_directions(mean, deviation, inside, corner, rng)


def by_strips(mean: Array, deviation: Array, front: Array, corner: Array) -> Array:
    """Exact for two objectives; strips lie between neighbours of the front."""
    front = front[np.argsort(front[:, 1])]
    levels = np.append(corner[0], front[:, 0])  # what is to be beaten left of each edge
    edges = np.append(front[:, 1], corner[1])
    widths = np.diff(below(edges, mean[:, 1], deviation[:, 1]), axis=1, prepend=0.0)
    gained: Array = (below(levels, mean[:, 0], deviation[:, 0]) * widths).sum(axis=1)
    return gained


def by_directions(
    mean: Array, deviation: Array, front: Array, corner: Array, rng: np.random.Generator
) -> Array:
    """By Monte Carlo, without the constant that only scales it."""
    directions = np.abs(rng.normal(size=(DIRECTIONS, len(corner))))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def reach(losses: Array) -> Array:
        gains = np.maximum(corner - losses, 0)
        lengths: Array = (gains[:, None, :] / directions).min(axis=2) ** len(corner)
        return lengths

    reached = reach(front).max(axis=0, initial=0.0)
    draws = rng.normal(size=(DRAWS, 1, len(corner)))
    gained = [np.maximum(reach(mean + d * deviation) - reached, 0).mean(axis=1) for d in draws]
    return np.mean(gained, axis=0)
