"""Layers: convolutions, norms, pools, products and moves are read as the operators they are."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from latency_models.onnx.drafts.draft import UnreadableError
from search_spaces.graphs import operators as ops
from tests.latency_models.parts.onnx_text import imported, nodes_of, onnx_file, operators_of

NORM = {"gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,)}
NORMED = "y = BatchNormalization(c, gamma, beta, mean, var)"


@pytest.mark.parametrize(
    ("attributes", "weight"),
    [
        ("", (4, 3, 1, 1)),
        ("pads = [1, 1, 1, 1], strides = [2, 2]", (4, 3, 3, 3)),
        ("pads = [0, 1, 2, 3]", (4, 3, 3, 3)),
        ("pads = [2, 4, 2, 4], dilations = [2, 4]", (4, 3, 3, 3)),
        ('auto_pad = "SAME_UPPER", strides = [2, 2]', (4, 3, 3, 3)),
        ('auto_pad = "SAME_LOWER", strides = [2, 2]', (4, 3, 3, 2)),
        ('auto_pad = "VALID"', (4, 3, 2, 5)),
        ("group = 3, pads = [1, 1, 1, 1]", (6, 1, 3, 3)),
    ],
)
def test_every_convolution_is_one(attributes: str, weight: tuple[int, ...]) -> None:
    body = f"y = Conv<{attributes}>(x, w)" if attributes else "y = Conv(x, w)"

    assert operators_of(body, w=weight) == ["Conv2d"]


def test_a_norm_behind_a_convolution_is_its_own_and_takes_the_bias() -> None:
    (node,) = nodes_of(f"c = Conv(x, w, b) {NORMED}", w=(4, 3, 1, 1), b=(4,), **NORM)

    assert node.operator == ops.Conv2d(4, norm="batch", activation="none")


@pytest.mark.parametrize("epsilon", ["0.001", "0.00000001"])
def test_another_epsilon_computes_the_same(epsilon: str) -> None:
    body = f"y = BatchNormalization<epsilon = {epsilon}>(x, gamma, beta, mean, var)"

    assert operators_of(body, shape=(4, 8, 8), **NORM) == ["BatchNorm"]


def test_a_norm_before_a_convolution_stands_alone_with_its_activation() -> None:
    body = "n = BatchNormalization(x, gamma, beta, mean, var) r = Relu(n) y = Conv(r, w)"

    assert operators_of(body, shape=(4, 8, 8), w=(2, 4, 3, 3), **NORM) == [
        "BatchNorm relu",
        "Conv2d",
    ]


def test_a_layer_norm_over_channels_is_read_where_channels_come_last() -> None:
    body = (
        "t = Transpose<perm = [0, 2, 3, 1]>(x) n = LayerNormalization<epsilon = 0.001>(t, g, b) "
    )
    body += "m = MatMul(n, w) y = Transpose<perm = [0, 3, 1, 2]>(m)"
    found = operators_of(body, g=(3,), b=(3,), w=(3, 5))

    assert found == ["LayerNorm", "Conv2d"]


def test_a_local_response_norm_is_read() -> None:
    body = "y = LRN<size = 5, alpha = 0.01, beta = 0.75, bias = 2.0>(x)"

    assert operators_of(body, shape=(9, 6, 6)) == ["LocalResponseNorm"]


def test_constants_are_folded_into_the_layer_before_them() -> None:
    body = "c = Conv(x, w) s = Mul(c, k) t = Sub(s, m) r = Relu(t) y = Div(r, d)"
    found = operators_of(body, w=(4, 3, 3, 3), k=(4, 1, 1), m=(1, 4, 1, 1), d=2.0)

    assert found == ["Conv2d relu", "BatchNorm"]


def test_constants_are_folded_into_the_layers_behind_them_where_no_border_is() -> None:
    body = "s = Sub(x, m) t = Mul(s, k) y = Conv(t, w)"

    assert operators_of(body, w=(4, 3, 3, 3), k=(3, 1, 1), m=(3, 1, 1)) == ["Conv2d"]


def test_a_mean_is_kept_before_a_border_that_it_would_not_reach() -> None:
    body = "s = Sub(x, m) y = Conv<pads = [1, 1, 1, 1]>(s, w)"

    assert operators_of(body, w=(4, 3, 3, 3), m=(3, 1, 1)) == ["BatchNorm", "Conv2d"]


@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape = [2, 2], strides = [2, 2]",
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]",
        "kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 1, 1]",
        "kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1",
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1",
        'kernel_shape = [3, 2], auto_pad = "SAME_UPPER"',
    ],
)
def test_pools_are_read_with_their_borders(attributes: str) -> None:
    shape = (3, 9, 10)

    assert operators_of(f"y = MaxPool<{attributes}>(x)", shape=shape) == ["MaxPool"]
    assert operators_of(f"y = AveragePool<{attributes}>(x)", shape=shape) == ["AvgPool"]
    counted = f"y = AveragePool<{attributes}, count_include_pad = 1>(x)"
    assert operators_of(counted, shape=shape, opset=19) == ["AvgPool"]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("y = GlobalAveragePool(x)", "GlobalAvgPool"),
        ("y = ReduceMean<keepdims = 0>(x, axes)", "GlobalAvgPool"),
        ("y = ReduceMean(x, axes)", "GlobalAvgPool"),
        ("y = AveragePool<kernel_shape = [8, 8]>(x)", "GlobalAvgPool"),
        ("y = GlobalMaxPool(x)", "MaxPool"),
        ("y = ReduceMax(x, axes)", "MaxPool"),
    ],
)
def test_means_and_maxima_over_all_pixels_are_read(body: str, wanted: str) -> None:
    given = {"axes": np.array([2, -1])} if "axes" in body else {}

    assert operators_of(body, **given) == [wanted]


def test_a_sum_over_pixels_is_a_mean_whose_factor_the_layer_behind_takes() -> None:
    body = "s = ReduceSum<keepdims = 0>(x, axes) y = Gemm<transB = 1>(s, w, b)"
    found = operators_of(body, axes=np.array([2, 3]), w=(5, 3), b=(5,))

    assert found == ["GlobalAvgPool", "Linear"]


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("f = Flatten(x) y = Gemm<transB = 1>(f, w, b)", {"w": (5, 192), "b": (5,)}),
        (
            "f = Flatten(x) y = Gemm<alpha = 0.5, beta = 2.0>(f, w, b)",
            {"w": (192, 5), "b": (1, 5)},
        ),
        ("f = Reshape(x, s) y = MatMul(f, w)", {"w": (192, 5), "s": np.array([1, -1])}),
        (
            "f = Flatten(x) m = MatMul(f, w) y = Add(b, m)",
            {"w": (192, 5), "b": (5,)},
        ),
        (
            "t = Transpose<perm = [0, 2, 3, 1]>(x) f = Flatten(t) y = MatMul(f, w)",
            {"w": (192, 5)},
        ),
        (
            "t = Transpose<perm = [0, 3, 1, 2]>(x) f = Reshape(t, s) y = MatMul(f, w)",
            {"w": (192, 5), "s": np.array([1, 192])},
        ),
    ],
)
def test_products_with_weights_are_linear_layers_whatever_the_order(
    body: str, given: dict[str, object]
) -> None:
    assert operators_of(body, **given) == ["Linear"]


def test_a_product_of_pixels_is_a_convolution() -> None:
    body = "t = Transpose<perm = [0, 2, 3, 1]>(x) m = MatMul(t, w) a = Add(m, b) r = Relu(a) "
    body += "y = Transpose<perm = [0, 3, 1, 2]>(r)"

    assert operators_of(body, w=(3, 5), b=(5,)) == ["Conv2d relu"]


def test_pads_become_those_of_the_windows_behind_them() -> None:
    pads = np.array([0, 0, 0, 1, 0, 0, 2, 1])
    convolved = nodes_of("p = Pad(x, pads) y = Conv(p, w)", pads=pads, w=(4, 3, 3, 3))
    pooled = "r = Relu(x) p = Pad(r, pads) y = MaxPool<kernel_shape = [4, 4]>(p)"

    assert [type(node.operator) for node in convolved] == [ops.Conv2d]
    assert operators_of(pooled, pads=pads) == ["Activate relu", "MaxPool"]


def test_zeros_before_a_maximum_of_signed_numbers_stay_zeros() -> None:
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    found = operators_of("p = Pad(x, pads) y = MaxPool<kernel_shape = [3, 3]>(p)", pads=pads)

    assert found == ["Conv2d", "MaxPool"]


SHUFFLE = (
    "a = Reshape(x, apart) t = Transpose<perm = [0, 2, 1, 3, 4]>(a) s = Reshape(t, together) "
)
SHAPES = {"apart": np.array([1, 3, 2, 8, 8]), "together": np.array([1, 6, 8, 8])}


def test_a_shuffle_is_one_operator() -> None:
    body = f"{SHUFFLE} y = Relu(s)"

    assert operators_of(body, shape=(6, 8, 8), **SHAPES) == ["ChannelShuffle", "Activate relu"]


def test_the_halves_of_a_shuffle_are_splits_of_it() -> None:
    body = f"{SHUFFLE} l, r = Split<axis = 1>(s, halves) q = Relu(r) y = Concat<axis = 1>(l, q)"
    found = operators_of(body, shape=(6, 8, 8), halves=np.array([2, 4]), **SHAPES)

    assert found == ["ChannelShuffle", "ChannelSplit", "Activate relu", "ChannelSplit", "Concat"]


def test_every_other_channel_is_half_of_a_shuffle() -> None:
    body = "a = Reshape(x, apart) g = Gather<axis = 2>(a, one) s = Reshape(g, together) "
    given = {"apart": np.array([1, 4, 2, 8, 8]), "together": np.array([1, 4, 8, 8])}
    found = operators_of(f"{body} y = Relu(s)", shape=(8, 8, 8), one=np.array(1), **given)

    assert found == ["ChannelShuffle", "ChannelSplit", "Activate relu"]


def test_the_shortcut_without_weights_is_a_convolution_of_ones_and_said() -> None:
    body = "s = Slice(x, starts, ends, axes, steps) p = Pad(s, pads) y = Relu(p)"
    given: dict[str, Any] = {
        "starts": np.array([0, 0]),
        "ends": np.array([99, 99]),
        "axes": np.array([2, 3]),
        "steps": np.array([2, 2]),
        "pads": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
    }
    found = imported(onnx_file(body, **given))

    assert [type(node.operator) for node in found.model.graph.nodes] == [ops.MaxPool, ops.Conv2d]
    assert "1x1 convolution of zeros and ones" in found.notes[0]


@pytest.mark.parametrize(
    ("gate", "wanted"),
    [
        (
            "s = GlobalAveragePool(x) a = Conv(s, w1) b = Relu(a) c = Conv(b, w2) g = Sigmoid(c)",
            ["GlobalAvgPool", "Conv2d relu", "Conv2d sigmoid", "Scale"],
        ),
        (
            "s = ReduceMean<keepdims = 0>(x, axes) a = MatMul(s, m1) b = Relu(a) "
            "c = MatMul(b, m2) h = HardSigmoid<alpha = 0.16666667>(c) g = Reshape(h, four)",
            ["GlobalAvgPool", "Linear relu", "Linear hardsigmoid", "Scale"],
        ),
    ],
)
def test_squeeze_and_excitation_is_read_however_it_is_spelled(
    gate: str, wanted: list[str]
) -> None:
    given = {
        **{"w1": (2, 4, 1, 1), "w2": (4, 2, 1, 1), "m1": (4, 2), "m2": (2, 4)},
        **{"axes": np.array([2, 3]), "four": np.array([1, 4, 1, 1])},
    }
    used = {name: value for name, value in given.items() if name in gate}

    assert operators_of(f"{gate} y = Mul(g, x)", shape=(4, 8, 8), **used) == wanted


def test_channels_last_at_the_input_are_turned() -> None:
    body = "t = Transpose<perm = [0, 3, 1, 2]>(x) y = Conv(t, w)"
    found = imported(onnx_file(body, shape=(8, 9, 3), w=(4, 3, 3, 3)))

    assert found.interface.layout == "NHWC"
    assert found.model.graph.input_shape == (3, 8, 9)


def test_an_input_of_bytes_is_one_of_the_same_numbers() -> None:
    proto = onnx_file(
        "c = Cast<to = 1>(x) d = Div(c, full) y = Conv(d, w)", full=255.0, w=(4, 3, 3, 3)
    )
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    found = imported(proto)

    assert [type(node.operator) for node in found.model.graph.nodes] == [ops.Conv2d]
    assert "from 0 to 255" in found.notes[0]


def test_a_softmax_at_the_end_is_left_out_and_said() -> None:
    body = "f = Flatten(x) m = MatMul(f, w) y = Softmax<axis = 1>(m)"
    found = imported(onnx_file(body, w=(192, 5)))

    assert [node.name for node in found.model.graph.nodes] == ["m"]
    assert found.notes == ("Softmax 'y' at the end is left out: outputs are logits",)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("s = Softmax<axis = 1>(x) y = Relu(s)", "Softmax 's' stands inside the network"),
        ("y = Tanh(x)", "Tanh 'y' is no part of an activation"),
        ("r = Relu(x) t = Transpose<perm = [0, 3, 2, 1]>(r) y = Conv(t, w)", "Conv 'y' reads"),
        ("y = Mul(x, pixels)", "Mul 'y' has a constant that differs between the pixels"),
        ("y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x)", "has dilation"),
    ],
)
def test_what_is_not_read_is_named(body: str, said: str) -> None:
    given: dict[str, Any] = {"w": (2, 8, 1, 1), "pixels": (8, 8)}
    used = {name: value for name, value in given.items() if name in body}

    with pytest.raises(UnreadableError, match=said):
        imported(onnx_file(body, **used))
