"""The integer oracle, against arithmetic by hand and against the float64 oracle."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import (
    NORM_ARRAYS,
    OPERATORS,
    Add,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Linear,
    MaxPool,
    Operator,
    Quantize,
)
from search_spaces.graphs.precision import PRECISIONS, Precision
from tests import integer_oracle, oracle
from tests.latency_models.parts.cases import (
    block_graphs,
    graph_of,
    operator_graphs,
    operators_in,
    precision_graphs,
)

F = np.float32
GRAPHS = precision_graphs()


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, F)


def row(*values: float) -> NDArray[np.float32]:
    """A batch of one image of one channel and one row."""
    return floats(*values)[None, None, None]


def coded(quantizer: Quantize, operator: Operator, channels: int, width: int) -> Graph:
    """A quantizer ``q`` on one row of pixels, and an operator ``y`` that reads its codes."""
    net = GraphBuilder((channels, 1, width))
    net.add("y", operator, net.add("q", quantizer, net.input))
    return net.graph()


def model(graph: Graph, arrays: Mapping[str, Any]) -> Model:
    return Model(graph, {name: np.array(array, F) for name, array in arrays.items()})


def codes_of(found: integer_oracle.Map) -> list[int]:
    assert isinstance(found, integer_oracle.Codes)
    return found.codes.ravel().tolist()


@pytest.mark.parametrize(
    ("signed", "codes"), [(False, [0, 0, 2, 2, 3, 0]), (True, [-1, 0, 1, 1, 1, -2])]
)
def test_codes_round_halves_to_even_and_stay_in_their_range(
    signed: bool, codes: list[int]
) -> None:
    graph = graph_of((1, 1, 6), Quantize(2, signed))
    x = row(-0.3, 0.25, 0.75, 1.25, 200, -200)

    found = integer_oracle.run(model(graph, {"node.step": 0.5}), x)["node"]

    assert codes_of(found) == codes
    assert integer_oracle.real(found).ravel().tolist() == [0.5 * code for code in codes]


def test_a_quantizer_multiplies_by_the_rounded_reciprocal() -> None:
    step = F(0.7)
    x = np.linspace(0, 100, 200001, dtype=F)
    differ = np.rint(x * F(1 / np.float64(step))) != np.rint(x / step)
    assert differ.any()

    graph = graph_of((1, 1, int(differ.sum())), Quantize(8))
    found = integer_oracle.run(model(graph, {"node.step": step}), row(*x[differ]))["node"]

    assert codes_of(found) == np.rint(x[differ] * F(1 / np.float64(step))).tolist()


def test_one_bit_is_the_sign_of_the_norm_and_zero_counts_as_positive() -> None:
    graph = graph_of((3, 1, 3), Quantize(1, norm="folded"))
    x = np.tile(row(-1, 0, 1), (1, 3, 1, 1))

    arrays = {"node.gain": [1, -2, 0], "node.bias": [1, 1, -0.0]}
    found = integer_oracle.run(model(graph, arrays), x)["node"]

    # channel 0: x + 1; channel 1: 1 - 2 x; channel 2: zero, of either sign
    assert codes_of(found) == [1, 1, 1, 1, 1, -1, 1, 1, 1]


def test_signed_codes_see_zeros_at_the_border() -> None:
    operator = Conv2d(1, (1, 3), norm="folded", activation="none", precision=PRECISIONS["w8a8"])
    graph = coded(Quantize(8, signed=True), operator, 1, 2)
    weight = {"y.weight": [[[[0.25, 0.5, 0.75]]]], "y.weight.step": [0.25]}
    others = {"q.step": 0.5, "y.gain": [2], "y.bias": [1]}

    found = integer_oracle.run(model(graph, weight | others), row(-1, 1.5))

    assert codes_of(found["q"]) == [-2, 3]
    # sums: 0 * 1 - 2 * 2 + 3 * 3 = 5 and -2 * 1 + 3 * 2 + 0 * 3 = 4; scale 0.5 * 0.25 * 2
    assert integer_oracle.real(found["y"]).ravel().tolist() == [5 * 0.25 + 1, 4 * 0.25 + 1]


def test_signs_see_minus_one_at_the_border() -> None:
    operator = Conv2d(1, (1, 3), norm="folded", activation="none", precision=PRECISIONS["xnor"])
    graph = coded(Quantize(1), operator, 1, 2)
    arrays = {"y.weight": [[[[0.5, -1.5, -1.0]]]], "y.gain": [0.5], "y.bias": [10]}

    found = integer_oracle.run(model(graph, arrays), row(2, -4))

    # sums: -1 * 1 + 1 * -1 - 1 * -1 = -1 and 1 * 1 - 1 * -1 - 1 * -1 = 3; mean of |w| is 1
    assert integer_oracle.real(found["y"]).ravel().tolist() == [-0.5 + 10, 1.5 + 10]


def test_the_magnitude_map_scales_the_sums_before_the_bias() -> None:
    precision = PRECISIONS["xnor_k"]
    operator = Conv2d(1, (1, 3), norm="folded", activation="none", precision=precision)
    net = GraphBuilder((2, 1, 2))
    net.add("y", operator, net.input)
    x = np.array([[[[2, -4]], [[-4, 14]]]], F)
    norm = dict(zip(NORM_ARRAYS, ([1, 1], [0, 0], [0, 0], [1, 1]), strict=True))
    arrays = {f"input.q1.{name}": array for name, array in norm.items()}
    weight = {"y.weight": [[[[1, 1, 1]], [[1, 1, -1]]]], "y.gain": [2], "y.bias": [100]}

    found = integer_oracle.run(fold_batch_norm(model(net.graph(), arrays | weight)), x)

    # |x| has means 3 and 9; a window of three sees 0 3 9 and 3 9 0, both 4 on average
    assert integer_oracle.real(found["y.magnitude"]).ravel().tolist() == [3, 9]
    assert integer_oracle.real(found["y.window"]).ravel().tolist() == [4, 4]
    # signs (-1 outside): first + -, then - +; sums (-1 + 1 - 1) + (-1 - 1 - 1) = -4 and
    # (1 - 1 - 1) + (-1 + 1 + 1) = 0
    assert integer_oracle.real(found["y"]).ravel().tolist() == [-4 * 2 * 4 + 100, 100]


def test_signs_of_weights_meet_codes_of_two_bits() -> None:
    graph = coded(Quantize(2), Linear(2, norm="folded", precision=PRECISIONS["w1a2"]), 3, 1)
    x = floats(0.9, 2.6, 7)[None, :, None, None]  # codes 1, 3, 3 of step 1
    weight = [[1, -2, 3], [-1, 0, -5]]  # means of |w| are 2 and 2; 0 counts as +1

    arrays = {"q.step": 1, "y.weight": weight, "y.gain": [1, 0.5], "y.bias": [0, 1]}
    found = integer_oracle.output(model(graph, arrays), x)

    assert found.ravel().tolist() == [(1 - 3 + 3) * 2.0, (-1 + 3 - 3) * 1.0 + 1]


def test_a_sum_counts_codes_as_their_values() -> None:
    net = GraphBuilder((1, 1, 2))
    q = net.add("q", Quantize(8), net.input)
    same = Conv2d(1, norm="folded", activation="none", precision=PRECISIONS["w8a8"])
    net.add("sum", Add("relu"), q, net.add("y", same, q))
    weight = {"y.weight": [[[[-1.0]]]], "y.weight.step": [1]}
    others = {"q.step": 0.5, "y.gain": [2], "y.bias": [1.25]}

    found = integer_oracle.output(model(net.graph(), weight | others), row(0.5, 3.1))

    # codes 1 and 6: 0.5 - 1 + 1.25 = 0.75 and 3 - 6 + 1.25, which relu takes away
    assert found.ravel().tolist() == [0.75, 0]


def test_scale_and_bias_are_rounded_one_after_the_other() -> None:
    graph = coded(Quantize(8), Linear(1, norm="folded", precision=PRECISIONS["w8a8"]), 1, 1)
    weight = {"y.weight": [[17]], "y.weight.step": [1]}
    others = {"q.step": 1, "y.gain": [4097], "y.bias": [-(4097**2 - 1)]}

    # 17 * 241 = 4097; 4097 * 4097 is odd and has 25 bits, so that float32 drops the last one.
    found = integer_oracle.output(model(graph, weight | others), row(241))

    assert found.ravel().tolist() == [0]


def test_binary_weights_meet_real_numbers() -> None:
    graph = graph_of((2, 1, 1), Linear(1, norm="folded", precision=PRECISIONS["bwn"]))
    arrays = {"node.weight": [[3, -1]], "node.gain": [0.5], "node.bias": [0.25]}

    found = integer_oracle.output(model(graph, arrays), floats(1.5, 0.25)[None, :, None, None])

    assert found.ravel().tolist() == [(1.5 - 0.25) * 2 * 0.5 + 0.25]


@pytest.mark.parametrize(
    ("operator", "codes"),
    [
        (ChannelSplit(1, 3), [2, 3]),
        (ChannelShuffle(2), [1, 3, 2, 4]),
        (MaxPool((1, 1), (1, 1)), [1, 2, 3, 4]),
    ],
    ids=["split", "shuffle", "max_pool"],
)
def test_operators_that_move_numbers_move_codes(operator: Operator, codes: list[int]) -> None:
    graph = coded(Quantize(4), operator, 4, 1)
    x = floats(0.5, 1, 1.5, 2)[None, :, None, None]

    found = integer_oracle.run(model(graph, {"q.step": 0.5}), x)["y"]

    assert codes_of(found) == codes


def test_a_maximum_of_negative_codes_does_not_see_the_padding() -> None:
    graph = coded(Quantize(8, signed=True), MaxPool((1, 3), (1, 1), (0, 1)), 1, 2)

    found = integer_oracle.run(model(graph, {"q.step": 1}), row(-5, -7))["y"]

    assert codes_of(found) == [-5, -5]


def test_concatenated_codes_stay_codes_only_where_they_share_a_quantizer() -> None:
    net = GraphBuilder((1, 1, 2))
    q, other = (net.add(name, Quantize(8), net.input) for name in ("q", "other"))
    joined = [net.add("same", Concat(), q, q), net.add("mixed", Concat(), q, other)]
    net.add("all", Concat(), *joined)

    steps = {"q.step": 1, "other.step": 2}
    found = integer_oracle.run(model(net.graph(), steps), row(3, 5))

    assert codes_of(found["same"]) == [3, 5, 3, 5]
    # 5 / 2 rounds to 2
    assert integer_oracle.real(found["mixed"]).ravel().tolist() == [3, 5, 4, 4]
    assert not isinstance(found["mixed"], integer_oracle.Codes)
    assert integer_oracle.real(found["all"]).ravel().tolist() == [3, 5, 3, 5, 3, 5, 4, 4]


def test_codes_are_quantized_again_by_their_values() -> None:
    graph = coded(Quantize(8, signed=True), Quantize(2), 1, 3)

    found = integer_oracle.run(model(graph, {"q.step": 0.5, "y.step": 2}), row(-9, 3, 2))

    assert codes_of(found["q"]) == [-18, 6, 4]
    assert codes_of(found["y"]) == [0, 2, 1]


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_it_agrees_with_the_float64_oracle_on_the_network_before_folding(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    trained = random_model(graph, rng)
    x = rng.normal(size=(2, *graph.input_shape)).astype(F)

    got = integer_oracle.output(fold_batch_norm(trained), x)

    want = oracle.run(trained, x)[graph.output.name]
    assert np.abs(got - want).max() <= 1e-4 * max(1, np.abs(want).max())


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=str)
def test_blocks_agree_with_the_float64_oracle_but_for_flipped_codes(precision: Precision) -> None:
    agree = 0
    graphs = block_graphs(size=4, precision=precision)
    for graph in graphs.values():
        rng = np.random.default_rng(0)
        trained = random_model(graph, rng)
        x = rng.normal(size=(1, *graph.input_shape)).astype(F)
        got = integer_oracle.output(fold_batch_norm(trained), x)
        want = oracle.run(trained, x)[graph.output.name]
        error = np.abs(got - want).max() / max(1, np.abs(want).max())
        assert error <= 0.05
        agree += bool(error <= 1e-4)
    assert agree >= len(graphs) - 2


def test_a_network_that_is_not_deployed_is_refused() -> None:
    graph = graph_of((3, 4, 4), replace(Conv2d(4), precision=PRECISIONS["w8a8"]))
    trained = random_model(graph, np.random.default_rng(0))

    with pytest.raises(AssertionError, match="node is not deployed"):
        integer_oracle.run(trained, np.zeros((1, 3, 4, 4), F))


def test_every_operator_has_a_row_and_a_case() -> None:
    assert set(integer_oracle.OPERATIONS) == set(OPERATORS.values())
    assert operators_in(operator_graphs().values()) == set(OPERATORS.values())
