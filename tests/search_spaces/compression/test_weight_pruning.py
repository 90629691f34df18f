"""The smallest weights become zeros, as many as were asked for, and nothing else changes."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression.selection import Scope
from search_spaces.compression.weight_pruning import (
    Rule,
    kept_share,
    kept_weights,
    prune_weights,
)
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import W8A8
from search_spaces.quantization.reprecision import with_precision

RATIOS = st.floats(0, 0.9)


def net(classes: int = 10) -> Graph:
    net = GraphBuilder((2, 6, 6))
    x = net.add("conv1", Conv2d(4, (3, 3)), net.input)
    x = net.add("conv2", Conv2d(8, (1, 1), norm="none", bias=True), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("fc", Linear(classes), x)
    return net.graph()


def model(seed: int = 0) -> Model:
    return random_model(net(), np.random.default_rng(seed))


def with_weights(**weights: Array) -> Model:
    """Returns the model with other weights in some layers."""
    made = model()
    arrays = {f"{name}.weight": np.asarray(w, np.float32) for name, w in weights.items()}
    return Model(made.graph, {**made.arrays, **arrays})


def one_layer(*weights: float) -> Model:
    """Returns a network of one linear layer with one output."""
    net = GraphBuilder((len(weights), 1, 1))
    net.add("fc", Linear(1), net.input)
    arrays = {
        "fc.weight": np.array([weights], np.float32),
        "fc.bias": np.full(1, 1e-6, np.float32),
    }
    return Model(net.graph(), arrays)


def row(made: Model) -> list[float]:
    found: list[float] = made.arrays["fc.weight"][0].tolist()
    return found


def test_hand_arithmetic_of_each_rule() -> None:
    given = one_layer(0.5, -0.25, 2, -1)

    assert row(prune_weights(given, "ratio", 0.5)) == [0, 0, 2, -1]
    assert row(prune_weights(given, "threshold", 0.5)) == [0.5, 0, 2, -1]
    # The deviation of (0.5, -0.25, 2, -1) about its mean 0.3125 is 1.109.
    assert row(prune_weights(given, "sensitivity", 0.9)) == [0, 0, 2, -1]
    assert row(prune_weights(given, "sensitivity", 0.91)) == [0, 0, 2, 0]


def test_a_deviation_is_of_the_weights_that_are_left() -> None:
    one, other = (one_layer(*row) for row in ((1, -1, 3, -3), (1, -1, 3, -3, 0, 0, 0, 0)))

    ours, theirs = (row(prune_weights(each, "sensitivity", 0.5)) for each in (one, other))

    assert ours == theirs[:4] == [0, 0, 3, -3]


@settings(max_examples=40, deadline=None)
@given(ratio=st.floats(0, 0.6), seed=st.integers(0, 99))
def test_a_global_ratio_is_that_of_a_slow_ranking(ratio: float, seed: int) -> None:
    given = model(seed)

    made = prune_weights(given, "ratio", ratio)

    names = [f"{name}.weight" for name in kept_weights(given)]
    everything = np.concatenate([given.arrays[name].ravel() for name in names])
    order = sorted(range(len(everything)), key=lambda place: (abs(everything[place]), place))
    for place in order[: int(round(ratio * len(everything), 6))]:
        everything[place] = 0
    found = np.concatenate([made.arrays[name].ravel() for name in names])
    assert np.array_equal(found, everything)


@settings(max_examples=40, deadline=None)
@given(ratio=RATIOS, seed=st.integers(0, 99))
def test_a_ratio_by_layer_takes_the_same_of_each(ratio: float, seed: int) -> None:
    made = prune_weights(model(seed), "ratio", ratio, scope="layer")

    for kept, of in kept_weights(made).values():
        assert of - kept == int(round(ratio * of, 6))


@settings(max_examples=40, deadline=None)
@given(
    rule=st.sampled_from(["ratio", "threshold", "sensitivity"]),
    scope=st.sampled_from(["global", "layer"]),
    amounts=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)),
)
def test_weights_are_as_they_were_or_zero_and_more_of_them_by_a_larger_amount(
    rule: Rule, scope: Scope, amounts: tuple[float, float]
) -> None:
    given, (less, more) = model(), sorted(amounts)

    made = prune_weights(given, rule, less, scope=scope)
    further = prune_weights(given, rule, more, scope=scope)

    for name, array in made.arrays.items():
        if name.removesuffix(".weight") in kept_weights(given):
            assert np.array_equal(array[array != 0], given.arrays[name][array != 0])
            assert not further.arrays[name][array == 0].any()
        else:  # biases and norms
            assert array is given.arrays[name]


def test_pruning_again_counts_the_zeros_that_are_there() -> None:
    once = prune_weights(model(), "ratio", 0.8)
    twice = prune_weights(prune_weights(model(), "ratio", 0.5), "ratio", 0.8)

    assert kept_share(once) == pytest.approx(0.2, abs=0.01)
    for name in once.arrays:
        assert np.array_equal(once.arrays[name], twice.arrays[name])


def test_of_equal_magnitudes_as_many_go_as_the_ratio_says_and_the_first() -> None:
    assert row(prune_weights(one_layer(1, -1, 1, 1), "ratio", 0.5)) == [0, 0, 1, 1]
    assert row(prune_weights(one_layer(0, -1, 1, 1), "ratio", 0.5)) == [0, 0, 1, 1]


def test_a_threshold_is_held_against_the_number_as_written() -> None:
    """0.1 as float32 is a little more than 0.1, and stays."""
    given = one_layer(0.1, 0.0999999, 1)

    assert np.count_nonzero(row(prune_weights(given, "threshold", 0.1))) == 2


def test_exceptions_are_by_pattern_and_the_last_counts() -> None:
    exceptions = {"conv*": 0.5, "conv2": 0.0}

    made = prune_weights(model(), "ratio", 0.75, exceptions=exceptions)

    kept = kept_weights(made)
    assert kept == {"conv1": (36, 72), "conv2": (32, 32), "fc": (20, 80)}


def test_a_layer_of_zeros_stays_and_the_sign_of_zero_goes() -> None:
    given = with_weights(
        fc=np.zeros((10, 8), np.float32), conv2=-np.zeros((8, 4, 1, 1), np.float32)
    )
    rules: tuple[Rule, ...] = ("ratio", "threshold", "sensitivity")

    for rule in rules:
        made = prune_weights(given, rule, 0.1, scope="layer")

        assert not made.arrays["fc.weight"].any()
        assert not np.signbit(made.arrays["conv2.weight"]).any()


def test_outputs_of_functions_are_new_and_what_was_given_stays() -> None:
    given = model()
    before = {name: array.copy() for name, array in given.arrays.items()}

    prune_weights(given, "ratio", 0.5)

    assert all(np.array_equal(array, before[name]) for name, array in given.arrays.items())


@pytest.mark.parametrize(
    ("rule", "amount", "exceptions", "said"),
    [
        ("ratio", 1.0, {}, "a ratio of pruning must be at least 0 and below 1, got 1"),
        ("ratio", -0.1, {}, "a ratio of pruning must be at least 0 and below 1, got -0.1"),
        ("ratio", float("nan"), {}, "a ratio of pruning must be at least 0 and below 1, got nan"),
        ("threshold", float("inf"), {}, "a threshold of pruning must be at least 0, got inf"),
        ("ratio", 0.5, {"fc": 1.0}, "a ratio of pruning must be at least 0 and below 1, got 1"),
        (
            "ratio",
            0.5,
            {"conv3": 0},
            "no layer is called 'conv3'; the layers are conv1, ",
        ),
        ("threshold", 1e9, {}, "conv1: all of its 72 weights would be zero; lower the threshold"),
        (
            "sensitivity",
            0.5,
            {"fc": 99},
            "fc: all of its 80 weights would be zero; lower",
        ),
        (
            "size",
            0.5,
            {},
            "a rule of pruning must be one of ratio, threshold, sensiti",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    rule: Rule, amount: float, exceptions: Mapping[str, float], said: str
) -> None:
    with pytest.raises(UserError) as error:
        prune_weights(model(), rule, amount, exceptions=exceptions)

    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_global_ratio_that_empties_a_layer_names_it() -> None:
    given = with_weights(fc=np.full((10, 8), 1e-6, np.float32))

    with pytest.raises(UserError, match=r"^fc: all of its 80 weights .* one of its"):
        prune_weights(given, "ratio", 0.6)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told(broken: float) -> None:
    weights = model().arrays["conv2.weight"].copy()
    weights[3, 1] = broken

    with pytest.raises(UserError, match=r"^conv2: a weight is NaN or infinite; train"):
        prune_weights(with_weights(conv2=weights), "ratio", 0.5)


def test_codes_are_refused_and_so_is_a_network_without_layers() -> None:
    coded = with_precision(net(), {"conv2": W8A8})
    empty = GraphBuilder((2, 6, 6))
    empty.add("pool", GlobalAvgPool(), empty.input)

    with pytest.raises(UserError, match=r"^conv2: .* at fp32, got w8a8; quantize afterwards"):
        prune_weights(random_model(coded, np.random.default_rng(0)), "ratio", 0.5)
    with pytest.raises(UserError, match="no convolution or linear layer"):
        prune_weights(Model(empty.graph(), {}), "ratio", 0.5)
