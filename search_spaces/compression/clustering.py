"""Clustering: k-means of numbers, exact and fast for tens of millions of them.

On a line, the members of a cluster are neighbours: sorted once, a step of Lloyd's algorithm is a
binary search for the ``k - 1`` borders and differences of prefix sums, whatever the number of
values.

*Source:* Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982;
the three initialisations are those of Han et al., "Deep Compression", ICLR 2016,
https://arxiv.org/abs/1510.00149, section 3.2.

*Differs from the paper:* a cluster that is left without members, as linear ones are in the gap
that pruning makes around zero, is moved to the value that is farthest from its centroid, so that
no entry of the codebook is wasted.

Shape letters: n values, k clusters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

Init = Literal["linear", "density", "random"]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Edges = NDArray[np.int64]

MOST_CLUSTERS = 1 << 16
# Lloyd's algorithm ends by itself; of 40 million values in 256 clusters, steps after so many
# still move a few values from one cluster to the next.
MOST_STEPS = 10_000
CHUNK = 1 << 20  # values that are labelled at once


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """What k-means found.

    Attributes:
        centroids: ``(k,)``, rising, each the mean of its members; fewer than were asked for where
            there are fewer distinct values.
        labels: Of each value the number of its centroid, in the shape of the values.
        inertia: Sum of the squared distances between values and their centroids.
        steps: How many it took.
    """

    centroids: Doubles
    labels: NDArray[np.uint16]
    inertia: float
    steps: int


def k_means(values: Floats, k: int, init: Init = "linear", *, seed: int = 0) -> Clusters:
    """Returns the clusters that Lloyd's algorithm comes to, or is at after 10,000 steps.

    A value halfway between two centroids is the lower one's. Where ``k`` is not below the number
    of distinct values, each of these is a centroid.

    Args:
        init: First centroids: "linear" spaces them from the least to the largest value, "density"
            takes them at equal shares of the values, "random" draws values.
        seed: Of what is drawn.

    Raises:
        UserError: If ``k`` is out of bounds, the initialisation unknown, or a value not finite.
    """
    check(values, k, init)
    ordered = np.sort(values, axis=None)
    if is_distinct_at_most(ordered, k):
        ends = np.searchsorted(ordered, np.unique(ordered), side="right")
        edges: Edges = np.append(0, ends)
        steps = 0
    else:
        first = INITS[init](ordered, k, np.random.default_rng(seed))
        edges, steps = lloyd(ordered, np.sort(first.astype(np.float64)))
    centroids = np.add.reduceat(ordered, edges[:-1], dtype=np.float64) / np.diff(edges)
    labels = labelled(values, ordered[edges[1:-1] - 1])
    return Clusters(centroids, labels, inertia(ordered, edges, centroids), steps)


def check(values: Floats, k: int, init: str) -> None:
    if init not in INITS:
        raise UserError(f"init must be one of {', '.join(get_args(Init))}, got {init!r}")
    if not 1 <= k <= MOST_CLUSTERS:
        raise UserError(f"k must be between 1 and {MOST_CLUSTERS} clusters, got {k}")
    if not values.size:
        raise UserError("k-means needs at least one value, got none")
    if not np.isfinite(values).all():
        raise UserError("k-means needs finite values, got NaN or infinity among them")


def is_distinct_at_most(ordered: Floats, k: int) -> bool:
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1])) <= k


def linear(ordered: Floats, k: int, rng: np.random.Generator) -> Doubles:
    """Returns first centroids ``(k,)`` at equal distances over the range of the values."""
    return np.linspace(float(ordered[0]), float(ordered[-1]), k)


def density(ordered: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Returns first centroids ``(k,)`` at equal steps of the cumulative distribution."""
    return ordered[((np.arange(k) + 0.5) * ordered.size / k).astype(np.int64)]


def random(ordered: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Returns first centroids ``(k,)``, values drawn without putting back (Forgy)."""
    return ordered[rng.choice(ordered.size, k, replace=False, shuffle=False)]


INITS: Mapping[str, Callable[..., NDArray[np.floating]]] = {
    "linear": linear,
    "density": density,
    "random": random,
}


def lloyd(ordered: Floats, centroids: Doubles) -> tuple[Edges, int]:
    """Returns where the clusters begin and end, none of them empty, and the steps it took.

    Args:
        ordered: ``(n,)``, rising, with more than ``k`` distinct values.
        centroids: The first ones, ``(k,)``, rising.
    """
    k = len(centroids)
    prefix = np.append(0.0, np.cumsum(ordered, dtype=np.float64))
    before = np.empty(0, np.int64)
    for steps in range(MOST_STEPS):
        edges = borders(ordered, centroids)
        if np.array_equal(edges, before):
            return before, steps
        before = edges
        counts = np.diff(edges)
        lived = counts > 0
        means = np.diff(prefix[edges])[lived] / counts[lived]
        if len(means) < k:  # in several steps where few values are far from their centroids
            kept = np.append(edges[:-1][lived], ordered.size)
            moved = farthest(ordered, kept, means, k - len(means))
            means = np.sort(np.append(means, moved))
        centroids = means
    return np.unique(before), MOST_STEPS


def borders(ordered: Floats, centroids: Doubles) -> Edges:
    """Returns ``(k + 1,)``: which of the sorted values are nearest to each centroid."""
    middles = (centroids[1:] + centroids[:-1]) / 2
    # As float32, and not above: else every search would copy the values to float64.
    cuts = middles.astype(np.float32)
    cuts = np.where(cuts > middles, np.nextafter(cuts, np.float32(-np.inf)), cuts)
    found = np.searchsorted(ordered, cuts, side="right")
    return np.concatenate(([0], found, [ordered.size]))


def farthest(ordered: Floats, edges: Edges, means: Doubles, count: int) -> Doubles:
    """Returns up to ``count`` values, the ends of clusters farthest from their centroids."""
    ends = np.concatenate((ordered[edges[:-1]], ordered[edges[1:] - 1])).astype(np.float64)
    far = np.abs(ends - np.tile(means, 2))
    chosen = np.argsort(-far, kind="stable")[:count]
    return ends[chosen[far[chosen] > 0]]


def labelled(values: Floats, last: Floats) -> NDArray[np.uint16]:
    """Returns the cluster of each value; ``last`` is the largest of each cluster but the last."""
    flat, labels = values.ravel(), np.empty(values.size, np.uint16)
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        labels[part] = np.searchsorted(last, flat[part], side="left")
    return labels.reshape(values.shape)


def inertia(ordered: Floats, edges: Edges, centroids: Doubles) -> float:
    total = 0.0
    for start, stop, centroid in zip(edges[:-1], edges[1:], centroids, strict=True):
        total += float(np.square(ordered[start:stop].astype(np.float64) - centroid).sum())
    return total
