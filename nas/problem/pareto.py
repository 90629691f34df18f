"""Fronts: what no other result beats, how much of the objective space it covers, where it bends.

Points are rows of an array, one column an objective, in the user's own directions.
"""

from collections.abc import Sequence

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
