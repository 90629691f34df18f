"""Codes and scales are what the papers say, and numbers that cannot be coded are refused."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import NORM_EPSILON, Array, Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.codes import (
    LARGEST_SUM,
    LEAST_STEP,
    check_accumulators,
    check_step,
    input_quantizer,
    input_step,
    is_coded,
    largest_sum,
    output_scale,
    snap_weights,
    weight_codes,
    weight_limits,
)

CODED = [name for name, p in PRECISIONS.items() if p.weights != "real"]
INTEGER = [name for name, p in PRECISIONS.items() if p.weights == "integer"]


def one_layer(precision: str, channels: int = 4, out: int = 2, kernel: int = 1) -> Graph:
    """A stem and one coded convolution, without bias."""
    net = GraphBuilder((3, 4, 4))
    x = net.add("stem", Conv2d(channels), net.input)
    net.add("conv", Conv2d(out, (kernel, kernel), precision=PRECISIONS[precision]), x)
    return net.graph()


def model_of(graph: Graph, **arrays: object) -> Model:
    """A random model with some arrays set; double underscores are dots."""
    model = random_model(graph, np.random.default_rng(0))
    given = {k.replace("__", "."): np.asarray(v, np.float32) for k, v in arrays.items()}
    return Model(graph, dict(model.arrays) | given)


def test_codes_round_halves_to_even_and_stop_at_the_limits() -> None:
    weight: Array = np.array([[0.5, 1.5, -2.5, 100.0], [-0.5, 0.75, -100.0, 0.0]], np.float32)
    model = model_of(
        one_layer("w4a8"),
        conv__weight=weight.reshape(2, 4, 1, 1),
        conv__weight__step=[1.0, 0.5],
    )

    codes, scale = weight_codes(model, model.graph.node("conv"))

    assert codes.reshape(2, 4).tolist() == [[0, 2, -2, 7], [-1, 2, -8, 0]]
    assert codes.dtype == np.int8
    assert scale.tolist() == [1.0, 0.5]


def test_signs_of_zero_are_positive_and_scaled_by_the_mean_magnitude() -> None:
    weight = np.array([[0.0, -0.5, 1.0, -2.5], [-0.0, 1.0, 1.0, 2.0]], np.float32)
    model = model_of(one_layer("xnor"), conv__weight=weight.reshape(2, 4, 1, 1))

    codes, scale = weight_codes(model, model.graph.node("conv"))

    assert codes.reshape(2, 4).tolist() == [[1, -1, 1, -1], [1, 1, 1, 1]]
    assert scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("bits", "limits"), [(8, (-127, 127)), (4, (-8, 7)), (2, (-2, 1))])
def test_the_limits_of_weights(bits: int, limits: tuple[int, int]) -> None:
    assert weight_limits(bits) == limits


@pytest.mark.parametrize("precision", INTEGER)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_codes_are_the_nearest_on_the_grid(precision: str, seed: int) -> None:
    model = random_model(one_layer(precision, 8, 4, 3), np.random.default_rng(seed))
    codes, step = weight_codes(model, model.graph.node("conv"))
    weight = model.arrays["conv.weight"].astype(np.float64)
    low, high = weight_limits(PRECISIONS[precision].weight_bits)
    each = step.reshape(-1, 1, 1, 1).astype(np.float64)

    grid = np.arange(low, high + 1).reshape(-1, 1, 1, 1, 1)
    nearest = np.abs(weight - grid * each).min(0)

    assert codes.min() >= low
    assert codes.max() <= high
    np.testing.assert_allclose(np.abs(weight - codes * each), nearest, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", CODED)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_weights_on_their_grid_are_coded_as_before(precision: str, seed: int) -> None:
    model = random_model(one_layer(precision, 8, 4, 3), np.random.default_rng(seed))
    snapped = snap_weights(model)
    node = model.graph.node("conv")

    before, after = weight_codes(model, node), weight_codes(snapped, node)

    assert np.array_equal(after[0], before[0])
    np.testing.assert_allclose(after[1], before[1], rtol=1e-6)
    assert np.array_equal(snapped.arrays["stem.weight"], model.arrays["stem.weight"])
    magnitudes = np.unique(np.abs(snapped.arrays["conv.weight"][0]))
    assert len(magnitudes) <= 2 ** (PRECISIONS[precision].weight_bits - 1) + 1


def test_the_output_scale_is_the_product_of_three() -> None:
    """Input step 0.25, weight steps 0.5 and 2, norm gain 3 / sqrt(4) = 1.5."""
    model = model_of(
        one_layer("w8a8"),
        stem__q8__step=0.25,
        conv__weight__step=[0.5, 2.0],
        conv__norm__weight=[3.0, 3.0],
        conv__norm__variance=[4.0 - NORM_EPSILON] * 2,
    )
    folded = fold_batch_norm(model)

    assert output_scale(folded, folded.graph.node("conv")).tolist() == pytest.approx(
        [0.25 * 0.5 * 1.5, 0.25 * 2.0 * 1.5], rel=1e-6
    )


@pytest.mark.parametrize("precision", ["bwn", "xnor", "xnor_k"])
def test_real_maps_and_signs_have_no_step(precision: str) -> None:
    model = model_of(one_layer(precision), conv__weight=np.full((2, 4, 1, 1), -0.5))
    folded = fold_batch_norm(model)

    scale = output_scale(folded, folded.graph.node("conv"))

    assert scale.tolist() == (np.float32(0.5) * folded.arrays["conv.gain"]).tolist()


@pytest.mark.parametrize("precision", CODED)
def test_folding_leaves_the_codes_as_they_are(precision: str) -> None:
    model = random_model(one_layer(precision, 8, 4, 3), np.random.default_rng(1))
    folded = fold_batch_norm(model)

    before = weight_codes(model, model.graph.node("conv"))
    after = weight_codes(folded, folded.graph.node("conv"))

    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert fold_batch_norm(folded).graph == folded.graph


@pytest.mark.parametrize("bad", [0.0, -1.0, 1e-40, float("nan"), float("inf")])
def test_a_step_that_is_no_positive_number_is_refused(bad: float) -> None:
    with pytest.raises(UserError, match=r"conv\.weight\.step must be a positive number .* calib"):
        check_step("conv.weight.step", np.array([1.0, bad], np.float32))
    model = model_of(one_layer("w8a8"), conv__weight__step=[1.0, bad])
    with pytest.raises(UserError, match=r"conv\.weight\.step must be a positive number"):
        weight_codes(model, model.graph.node("conv"))
    model = model_of(one_layer("w8a8"), stem__q8__step=bad)
    with pytest.raises(UserError, match=r"stem\.q8\.step must be a positive number"):
        input_step(model, model.graph.node("conv"))


def test_the_least_step_is_accepted() -> None:
    check_step("a.step", np.array(LEAST_STEP, np.float32))


def test_the_quantizer_of_a_map_is_found_behind_views() -> None:
    graph = one_layer("w8a8")

    assert input_quantizer(graph, graph.node("conv").inputs[0]).name == "stem.q8"
    with pytest.raises(ValueError, match="'stem' is not coded"):
        input_quantizer(graph, "stem")
    with pytest.raises(ValueError, match="'input' is not coded"):
        input_quantizer(graph, "input")


@pytest.mark.parametrize(
    ("precision", "of_one_term"),
    [
        ("w8a8", 127 * 255),
        ("w4a8", 8 * 255),
        ("w4a4", 8 * 15),
        ("w2a2", 2 * 3),
        ("w1a2", 1 * 3),
        ("xnor", 1),
        ("xnor_k", 1),
        ("bwn", 0),
    ],
)
def test_the_largest_sum_is_that_of_all_terms_at_their_largest(
    precision: str, of_one_term: int
) -> None:
    graph = one_layer(precision, channels=8, kernel=3)

    assert largest_sum(graph, graph.node("conv")) == 8 * 9 * of_one_term
    check_accumulators(graph)


def test_a_sum_that_could_leave_32_bits_is_refused_with_its_bound() -> None:
    """127 * 255 * n <= 2^31 - 1 holds up to n = 66311 terms."""
    assert 66311 * 127 * 255 <= LARGEST_SUM < 66312 * 127 * 255

    def classifier(features: int) -> Graph:
        net = GraphBuilder((features, 1, 1))
        net.add("classifier", Linear(2, precision=PRECISIONS["w8a8"]), net.input)
        return net.graph()

    check_accumulators(classifier(66311))
    with pytest.raises(UserError, match=r"classifier: its integer sums .* can reach 2147514120"):
        check_accumulators(classifier(66312))
    check_accumulators(with_precision(classifier(66312), "w4a4"))


def with_precision(graph: Graph, name: str) -> Graph:
    """The classifier alone at another precision."""
    operator = graph.node("classifier").operator
    assert isinstance(operator, Linear)
    net = GraphBuilder(graph.input_shape)
    net.add("classifier", replace(operator, precision=PRECISIONS[name]), net.input)
    return net.graph()


def test_only_coded_nodes_are_bounded() -> None:
    graph = one_layer("fp32")

    assert not any(is_coded(node) for node in graph.nodes)
    check_accumulators(graph)


@pytest.mark.parametrize("precision", CODED)
def test_random_models_use_the_range_of_their_codes(precision: str) -> None:
    model = random_model(one_layer(precision, 32, 16, 3), np.random.default_rng(0))
    codes, _ = weight_codes(model, model.graph.node("conv"))
    low, high = weight_limits(max(2, PRECISIONS[precision].weight_bits))

    assert len(np.unique(codes)) >= min(16, 2 ** PRECISIONS[precision].weight_bits)
    if PRECISIONS[precision].weight_bits > 1:
        clipped = np.mean((codes == low) | (codes == high))
        assert clipped < (0.05 if prod((low, high)) < -2 else 0.6)
