"""Fronts agree with slow, obvious versions and with arithmetic by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.problem.metrics import METRICS, Metric
from nas.problem.pareto import (
    Points,
    crowding_distances,
    hypervolume,
    hypervolume_history,
    knee,
    last_gain,
    losses,
    nadir,
    non_dominated,
    reference_point,
    unit_losses,
)

TWO = (METRICS["accuracy"], METRICS["macs"])
THREE = (*TWO, METRICS["latency_ms"])

Cloud = tuple[tuple[Metric, ...], Points]

# Few different values, so that equal ones and equal points are common.
coordinates = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])
clouds: st.SearchStrategy[Cloud] = st.sampled_from([TWO, THREE]).flatmap(
    lambda metrics: st.tuples(
        st.just(metrics),
        st.lists(st.tuples(*[coordinates] * len(metrics)), min_size=1, max_size=12).map(np.array),
    )
)


def dominates(first: Points, second: Points, metrics: tuple[Metric, ...]) -> bool:
    """First is nowhere worse and somewhere better, told coordinate by coordinate."""
    better = worse = False
    for a, b, metric in zip(first, second, metrics, strict=True):
        higher_is_better = metric.direction == "maximize"
        better |= bool(a > b if higher_is_better else a < b)
        worse |= bool(a < b if higher_is_better else a > b)
    return better and not worse


@given(clouds)
def test_the_front_is_what_nothing_dominates(cloud: Cloud) -> None:
    metrics, points = cloud

    expected = [not any(dominates(q, p, metrics) for q in points) for p in points]

    assert non_dominated(points, metrics).tolist() == expected


@given(clouds)
def test_fronts_are_mutually_non_dominated_and_all_else_is_dominated(cloud: Cloud) -> None:
    metrics, points = cloud
    mask = non_dominated(points, metrics)

    front, rest = points[mask], points[~mask]

    assert len(front) > 0
    assert not any(dominates(p, q, metrics) for p in front for q in front)
    assert all(any(dominates(p, q, metrics) for p in front) for q in rest)


def test_equal_points_stay_on_the_front_together() -> None:
    points = np.array([[0.9, 10], [0.9, 10], [0.8, 10], [0.9, 11]])

    assert non_dominated(points, TWO).tolist() == [True, True, False, False]


def test_one_point_is_a_front_and_none_is_an_empty_one() -> None:
    assert non_dominated(np.array([[0.5, 3.0]]), TWO).tolist() == [True]
    assert non_dominated(np.zeros((0, 2)), TWO).tolist() == []


def test_hypervolume_is_the_area_up_to_the_reference() -> None:
    # (0.5, 2) covers 0.5 x 8; (0.8, 6) adds 0.3 x 4.
    points = np.array([[0.5, 2.0], [0.8, 6.0], [0.4, 7.0]])

    assert hypervolume(points, (0.0, 10.0), TWO) == pytest.approx(0.5 * 8 + 0.3 * 4)


def test_hypervolume_in_three_dimensions_counts_each_box_once() -> None:
    points = np.array([[2.0, 1.0, 3.0], [1.0, 3.0, 1.0]])

    # 2 x (5-1) x (5-3) and 1 x (5-3) x (5-1), which share 1 x 2 x 2.
    assert hypervolume(points, (0.0, 5.0, 5.0), THREE) == pytest.approx(16 + 8 - 4)


@given(clouds)
def test_hypervolume_is_a_count_of_cells(cloud: Cloud) -> None:
    metrics, points = cloud
    reference = tuple(0.0 if metric.direction == "maximize" else 4.0 for metric in metrics)

    # A grid of the values that occur; a cell is covered if a point is at least as good as its
    # worst corner and as its best.
    axes = [np.array([0.0, 0.25, 0.5, 1.0, 3.0, 4.0]) for _ in metrics]
    covered = 0.0
    for index in np.ndindex(*(len(axis) - 1 for axis in axes)):
        low = np.array([axis[i] for axis, i in zip(axes, index, strict=True)])
        high = np.array([axis[i + 1] for axis, i in zip(axes, index, strict=True)])
        best = [
            h if m.direction == "maximize" else lo
            for lo, h, m in zip(low, high, metrics, strict=True)
        ]
        if any(
            all(
                p >= b if m.direction == "maximize" else p <= b
                for p, b, m in zip(point, best, metrics, strict=True)
            )
            for point in points
        ):
            covered += float(np.prod(high - low))

    assert hypervolume(points, reference, metrics) == pytest.approx(covered)


def test_points_at_or_beyond_the_reference_count_nothing() -> None:
    assert hypervolume(np.array([[0.5, 10.0], [0.0, 1.0], [0.9, 11.0]]), (0.0, 10.0), TWO) == 0
    assert hypervolume(np.zeros((0, 2)), (0.0, 10.0), TWO) == 0


@given(clouds)
def test_history_never_falls_and_ends_with_everything(cloud: Cloud) -> None:
    metrics, points = cloud
    reference = nadir(points, metrics)

    history = hypervolume_history(points, reference, metrics)

    assert len(history) == len(points)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(history))
    assert history[-1] == pytest.approx(hypervolume(points, reference, metrics))


def test_the_nadir_is_the_worst_of_each_objective() -> None:
    points = np.array([[0.5, 2.0], [0.8, 6.0]])

    assert nadir(points, TWO) == (0.5, 6.0)


def test_losses_turn_every_objective_downwards() -> None:
    assert losses(np.array([[0.5, 2.0]]), TWO).tolist() == [[-0.5, 2.0]]


def test_unit_losses_compare_costs_by_their_logarithm() -> None:
    points = np.array([[0.5, 1.0], [0.75, 10.0], [1.0, 100.0]])

    assert unit_losses(points, TWO) == pytest.approx(np.array([[1, 0], [0.5, 0.5], [0, 1]]))


def test_unit_losses_stay_linear_where_a_cost_is_zero() -> None:
    points = np.array([[0.5, 0.0], [0.5, 25.0], [0.5, 100.0]])

    assert unit_losses(points, TWO) == pytest.approx(np.array([[0, 0], [0, 0.25], [0, 1]]))


def test_the_knee_is_nearest_to_the_best_of_everything() -> None:
    points = np.array([[0.1, 1.0], [0.9, 2.0], [0.5, 3.0], [1.0, 1000.0]])

    assert knee(points, TWO) == 1


def test_the_knee_ignores_dominated_points() -> None:
    # The dominated point, were it counted, would stretch the scale so that row 2 won.
    points = np.array([[0.90, 10.0], [0.99, 20.0], [1.00, 40.0], [0.0, 1e9]])

    assert knee(points, TWO) == knee(points[:3], TWO)


def test_a_single_point_and_equal_points_have_a_knee() -> None:
    assert knee(np.array([[0.5, 1.0]]), TWO) == 0
    assert knee(np.array([[0.5, 1.0], [0.5, 1.0]]), TWO) == 0


def test_no_points_have_no_knee() -> None:
    with pytest.raises(ValueError, match="a knee needs at least one point"):
        knee(np.zeros((0, 2)), TWO)


@given(clouds)
def test_the_knee_is_on_the_front(cloud: Cloud) -> None:
    metrics, points = cloud

    assert non_dominated(points, metrics)[knee(points, metrics)]


def test_crowding_is_the_gap_between_neighbours() -> None:
    # Accuracy loss 1, 0.75, 0.5, 0; the cost's logarithm 0, 0.25, 0.5, 1.
    points = np.array([[0.0, 1.0], [0.25, 10.0], [0.5, 100.0], [1.0, 10000.0]])

    distances = crowding_distances(points, TWO)

    assert distances == pytest.approx([np.inf, 0.5 + 0.5, 0.75 + 0.75, np.inf])


def test_crowding_of_few_or_equal_points_is_defined() -> None:
    assert crowding_distances(np.zeros((0, 2)), TWO).tolist() == []
    assert crowding_distances(np.array([[0.5, 1.0]]), TWO).tolist() == [np.inf]
    assert not np.isnan(crowding_distances(np.full((4, 2), 0.5), TWO)).any()


@given(clouds, st.booleans())
def test_the_last_gain_is_where_the_hypervolume_grew_last(cloud: Cloud, at_nadir: bool) -> None:
    metrics, points = cloud
    corner = nadir(points, metrics) if at_nadir else (0.25, 1.0, 1.0)[: len(metrics)]

    steps = np.diff(hypervolume_history(points, corner, metrics), prepend=0.0)

    grown = np.flatnonzero(steps > 1e-12)  # the coordinates are far coarser
    assert last_gain(points, corner, metrics) == (grown[-1] if len(grown) else None)


def test_a_gain_that_is_lost_in_rounding_is_one() -> None:
    points, corner = np.array([[0.5, 1.0], [0.5, np.nextafter(1.0, 0.0)], [0.4, 2.0]]), (0.0, 1e9)

    assert len(set(hypervolume_history(points, corner, TWO))) == 1
    assert last_gain(points, corner, TWO) == 1


def test_the_reference_is_what_is_given_and_the_worst_elsewhere() -> None:
    points = np.array([[0.9, 5.0], [0.8, 2.0]])

    assert reference_point(points, {}, TWO) == (0.8, 5.0)
    assert reference_point(points, {"macs": 9.0}, TWO) == (0.8, 9.0)
