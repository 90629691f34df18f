"""Fronts: what no other result beats, how much of the objective space it covers, where it bends.

Points are rows of an array, one column an objective, in the user's own directions.
"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
from numpy.typing import NDArray

from nas.problem.metrics import Metric

Points = NDArray[np.float64]


def losses(points: Points, metrics: Sequence[Metric]) -> Points:
    """Returns the points with every column turned so that smaller is better."""
    signs = np.array([metric.sign for metric in metrics])
    return np.asarray(points, dtype=np.float64).reshape(-1, len(metrics)) * signs


def non_dominated(points: Points, metrics: Sequence[Metric]) -> NDArray[np.bool_]:
    """Returns which points no other point dominates; equal points stay together."""
    turned = losses(points, metrics)
    if len(turned) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(turned, keep_weakly=True), dtype=bool)


def hypervolume(points: Points, reference: Sequence[float], metrics: Sequence[Metric]) -> float:
    """Returns the volume that ``points`` dominate up to ``reference``."""
    turned = losses(points, metrics)
    corner = losses(np.asarray([reference], dtype=np.float64), metrics)[0]
    inside = turned[(turned < corner).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=corner)) if len(inside) else 0.0


def nadir(points: Points, metrics: Sequence[Metric]) -> tuple[float, ...]:
    """Returns the worst value of each objective among ``points``."""
    worst = losses(points, metrics).max(axis=0)
    return tuple(float(w * m.sign) for w, m in zip(worst, metrics, strict=True))


def reference_point(
    points: Points, given: Mapping[str, float], metrics: Sequence[Metric]
) -> tuple[float, ...]:
    """Returns the values that were ``given`` by metric, and the worst of ``points`` elsewhere."""
    worst = nadir(points, metrics)
    return tuple(given.get(m.name, value) for m, value in zip(metrics, worst, strict=True))


def unit_losses(points: Points, metrics: Sequence[Metric]) -> Points:
    """Returns losses from 0 (best of each objective) to 1 (worst).

    Costs, which span orders of magnitude, are compared by their logarithm.
    """
    columns = []
    for column, metric in zip(losses(points, metrics).T, metrics, strict=True):
        scaled = np.log(column) if metric.direction == "minimize" and column.min() > 0 else column
        span = scaled.max() - scaled.min()
        columns.append((scaled - scaled.min()) / span if span > 0 else np.zeros_like(scaled))
    return np.stack(columns, axis=1)


def knee(points: Points, metrics: Sequence[Metric]) -> int:
    """Returns the row of the front point nearest to the ideal one (all objectives at their best).

    Distances are Euclidean in unit losses of the front. Ties go to the first.

    Raises:
        ValueError: If there are no points.
    """
    if len(points) == 0:
        raise ValueError("a knee needs at least one point")
    front = np.flatnonzero(non_dominated(points, metrics))
    distances = np.linalg.norm(unit_losses(points[front], metrics), axis=1)
    return int(front[np.argmin(distances)])


def crowding_distances(points: Points, metrics: Sequence[Metric]) -> Points:
    """Returns NSGA-II's crowding distance of each point among its peers; infinite at the ends.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEVC
    2002, section III-B.
    """
    if len(points) == 0:
        return np.zeros(0)
    unit = unit_losses(points, metrics)
    distances = np.zeros(len(unit))
    for column in unit.T:
        order = np.argsort(column, kind="stable")
        distances[order[[0, -1]]] = np.inf
        distances[order[1:-1]] += column[order[2:]] - column[order[:-2]]
    return distances


def hypervolume_history(
    points: Points, reference: Sequence[float], metrics: Sequence[Metric]
) -> Points:
    """Returns the hypervolume of the first 1, 2, ... points."""
    return np.array([hypervolume(points[: n + 1], reference, metrics) for n in range(len(points))])


def last_gain(points: Points, reference: Sequence[float], metrics: Sequence[Metric]) -> int | None:
    """Returns the place of the last point that made the hypervolume of those before it grow.

    None if all of them dominate nothing up to ``reference``. A point does if it is better than the
    reference in everything and none before it is as good in everything. The last of these is on
    the front: whatever came later and dominated it would have been one itself. So no hypervolume
    is computed, and no gain is too small to be seen.
    """
    turned = losses(points, metrics)
    inside = np.flatnonzero((turned < losses(np.array([reference]), metrics)).all(axis=1))
    if len(inside) == 0:
        return None
    # Of equal points the first stays.
    best = np.asarray(moocore.is_nondominated(turned[inside], keep_weakly=False), dtype=bool)
    return int(inside[best].max())
