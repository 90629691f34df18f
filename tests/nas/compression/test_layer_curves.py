"""Amounts are as large as a stated drop allows, found on networks whose worth is arithmetic."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.compression.layer_curves import Amounts, LayerCurve, Worth, largest_within, layer_curves
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Linear

NAMES = ("wide", "narrow", "last")
AMOUNTS = (1.0, 2.0, 3.0, 4.0)


def model_of(amounts: Amounts) -> Model:
    """Returns a network whose bias tells what was done to it."""
    net = GraphBuilder((1, 1, 1))
    net.add("fc", Linear(len(NAMES)), net.input)
    bias = np.array([amounts.get(name, 0) for name in NAMES], np.float32)
    return Model(
        net.graph(), {"fc.weight": np.zeros((len(NAMES), 1), np.float32), "fc.bias": bias}
    )


def worth(costs: tuple[float, ...]) -> Worth:
    """Accuracy falls by a cost of each layer times the square of its amount."""

    def of(model: Model) -> float:
        amounts = model.arrays["fc.bias"].astype(float)
        return 1 - float(np.dot(costs, amounts**2))

    return of


def test_a_curve_is_of_one_layer_alone() -> None:
    curves = layer_curves(NAMES, "amount", AMOUNTS, model_of, worth((0.01, 0.02, 0.0)))

    assert [curve.layer for curve in curves] == list(NAMES)
    assert curves[0].accuracies == pytest.approx((0.99, 0.96, 0.91, 0.84))
    assert curves[2].accuracies == pytest.approx((1, 1, 1, 1))
    assert {curve.what for curve in curves} == {"amount"}


def test_a_layer_goes_as_far_as_its_curve_has_not_fallen_once() -> None:
    curve = LayerCurve("fc", "", (1, 2, 3, 4), (0.9, 0.7, 0.8, 0.6))

    assert [curve.within(least) for least in (0.95, 0.9, 0.75, 0.7, 0.5)] == [0, 1, 1, 3, 4]


@settings(max_examples=60, deadline=None)
@given(
    costs=st.tuples(*[st.floats(0, 0.02)] * 3),
    drop=st.floats(0, 0.3),
)
def test_amounts_keep_the_accuracy_and_none_can_go_further(
    costs: tuple[float, ...], drop: float
) -> None:
    of = worth(costs)
    least = of(model_of({})) - drop
    curves = layer_curves(NAMES, "amount", AMOUNTS, model_of, of)

    amounts, made = largest_within(curves, model_of, of, least)

    assert of(made) >= least
    assert np.array_equal(made.arrays["fc.bias"], model_of(amounts).arrays["fc.bias"])
    for name in NAMES:
        more = {**amounts, name: amounts.get(name, 0) + 1}
        assert amounts.get(name) == 4 or of(model_of(more)) < least


def test_it_is_among_the_best_of_all_that_there_are() -> None:
    of, least = worth((0.01, 0.02, 0.005)), 0.8
    curves = layer_curves(NAMES, "amount", AMOUNTS, model_of, of)

    amounts, _ = largest_within(curves, model_of, of, least)

    every = itertools.product((0, *AMOUNTS), repeat=3)
    tried = (dict(zip(NAMES, each, strict=True)) for each in every)
    sums = [sum(each.values()) for each in tried if of(model_of(each)) >= least]
    assert sum(amounts.values()) >= max(sums) - 1


def test_nothing_is_changed_where_every_amount_costs_too_much() -> None:
    of = worth((0.5, 0.5, 0.5))
    curves = layer_curves(NAMES, "amount", AMOUNTS, model_of, of)

    amounts, made = largest_within(curves, model_of, of, 0.9)

    assert amounts == {}
    assert not made.arrays["fc.bias"].any()
