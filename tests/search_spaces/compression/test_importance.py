"""Scores of channels by hand, and what becomes of those that go together."""

import numpy as np
import pytest

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.importance import importance
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Add, Conv2d, GlobalAvgPool, Linear, Scale
from search_spaces.networks import get_network


def tied_model() -> Model:
    """A stem of two channels and a convolution added to it, with norms and filters by hand."""
    net = GraphBuilder((1, 2, 2))
    x = net.add("stem", Conv2d(2), net.input)
    y = net.add("conv", Conv2d(2, activation="none"), x)
    net.add("classifier", Linear(2), net.add("sum", Add(), x, y))
    model = random_model(net.graph(), np.random.default_rng(0))
    by_hand = {
        "stem.norm.weight": [1, -3],
        "conv.norm.weight": [2, 0],
        "stem.weight": [[[[-1]]], [[[3]]]],
        "conv.weight": [[[[3]], [[4]]], [[[-1]], [[0]]]],
    }
    arrays = {name: np.array(value, np.float32) for name, value in by_hand.items()}
    return Model(model.graph, {**model.arrays, **arrays})


def scores(model: Model, criterion: str, **given: object) -> list[float]:
    (found,) = importance(model, channel_groups(model.graph), criterion, **given).values()  # type: ignore[arg-type]
    return found.tolist()


def test_tied_norm_scales_are_averaged_without_their_sign() -> None:
    assert scores(tied_model(), "norm_scale") == [1.5, 1.5]


def test_tied_channels_may_count_by_their_sum_or_their_best() -> None:
    assert scores(tied_model(), "norm_scale", combine="sum") == [3, 3]
    assert scores(tied_model(), "norm_scale", combine="max") == [2, 3]


def test_filters_count_by_their_norm_relative_to_their_layer() -> None:
    assert scores(tied_model(), "l1") == [(1 / 2 + 7 / 4) / 2, (3 / 2 + 1 / 4) / 2]
    assert scores(tied_model(), "l2") == [(1 / 2 + 5 / 3) / 2, (3 / 2 + 1 / 3) / 2]


def test_given_scores_of_tied_channels_add_up() -> None:
    given = {"sum": np.array([1.0, 2.0]), "conv": np.array([0.5, 0.0])}

    assert scores(tied_model(), "taylor", given=given) == [1.5, 2]


def test_scaling_a_layer_does_not_change_its_rank_among_others_by_filters() -> None:
    model = tied_model()
    larger = Model(model.graph, {**model.arrays, "conv.weight": 100 * model.arrays["conv.weight"]})

    assert scores(larger, "l1") == pytest.approx(scores(model, "l1"))


def test_depthwise_filters_do_not_count_beside_those_that_make_channels() -> None:
    graph = get_network("mobilenet_v1")(width=0.25, resolution=32, num_classes=3)
    model = random_model(graph, np.random.default_rng(0))
    zeros = {
        name: np.zeros_like(array) if "depthwise.weight" in name else array
        for name, array in model.arrays.items()
    }
    groups = channel_groups(graph)

    ours, without = (importance(each, groups, "l1") for each in (model, Model(graph, zeros)))

    assert all(np.array_equal(ours[name], without[name]) for name in ours)
    assert len(ours) == len(groups)


def test_groups_that_nothing_scores_are_left_out() -> None:
    net = GraphBuilder((1, 2, 2))
    x = net.add("stem", Conv2d(4), net.input)
    y = net.add("reduce", Conv2d(2, norm="none"), net.add("pool", GlobalAvgPool(), x))
    y = net.add("scale", Scale(), x, net.add("gate", Conv2d(4, norm="none"), y))
    net.add("classifier", Linear(2), y)
    model = random_model(net.graph(), np.random.default_rng(0))

    assert importance(model, channel_groups(model.graph), "norm_scale").keys() == {"stem"}


def test_mistakes_are_told_with_their_remedy() -> None:
    plain = random_model(get_network("lenet5")(), np.random.default_rng(0))
    nothing = np.full_like(plain.arrays["conv1.weight"], np.nan)
    broken = Model(plain.graph, {**plain.arrays, "conv1.weight": nothing})

    with pytest.raises(UserError, match="unknown importance 'l3'; known: norm_scale, l1, l2, tay"):
        scores(plain, "l3")
    with pytest.raises(UserError, match="has a batch norm to rank them by norm_scale; use l1 or"):
        scores(plain, "norm_scale")
    with pytest.raises(UserError, match="importance 'taylor' needs scores by layer"):
        scores(plain, "taylor")
    with pytest.raises(UserError, match="conv1: an importance is not a finite number"):
        scores(broken, "l1")
    with pytest.raises(UserError, match="combine must be one of mean, sum, max, got 'least'"):
        scores(tied_model(), "l1", combine="least")
