"""Parts of networks that are odd but legitimate: each is read and computes the same."""

from typing import Any

import numpy as np
import pytest

from tests.latency_models.parts.onnx_text import imported, onnx_file, operators_of, word

ints = np.array
LAST = "t = Transpose<perm = [0, 2, 3, 1]>"
ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "a gate that is repeated to the map": (
        "p = ReduceMean<keepdims = 0>(x, a) m = MatMul(p, w) s = Sigmoid(m) u = Reshape(s, four) "
        "e = Expand(u, full) y = Mul(x, e)",
        {"a": ints([2, 3]), "w": (4, 4), "four": ints([1, 4, 1, 1]), "full": ints([1, 4, 8, 8])},
    ),
    "a mean line by line": (
        "p = ReduceMean<keepdims = 0>(x, a) q = ReduceMean<keepdims = 0>(p, b) y = MatMul(q, w)",
        {"a": ints([3]), "b": ints([2]), "w": (4, 5)},
    ),
    "a mean of flattened pixels": (
        "f = Reshape(x, s) p = ReduceMean<keepdims = 0>(f, a) y = MatMul(p, w)",
        {"s": ints([1, 4, -1]), "a": ints([-1]), "w": (4, 5)},
    ),
    "Res2Net: a cascade of splits": (
        "a, b, c, d = Split<axis = 1>(x, parts) b1 = Conv<pads = [1, 1, 1, 1]>(b, w) "
        "c0 = Add(b1, c) c1 = Conv<pads = [1, 1, 1, 1]>(c0, w) d0 = Add(c1, d) "
        "d1 = Conv<pads = [1, 1, 1, 1]>(d0, w) y = Concat<axis = 1>(a, b1, c1, d1)",
        {"parts": ints([1, 1, 1, 1]), "w": (1, 1, 3, 3)},
    ),
    "Focus: every other pixel, four times": (
        "a = Slice(x, s00, e, ax, st) b = Slice(x, s10, e, ax, st) c = Slice(x, s01, e, ax, st) "
        "d = Slice(x, s11, e, ax, st) k = Concat<axis = 1>(a, b, c, d) y = Conv(k, w)",
        {
            **{"s00": ints([0, 0]), "s10": ints([1, 0]), "s01": ints([0, 1]), "s11": ints([1, 1])},
            **{"e": ints([8, 8]), "ax": ints([2, 3]), "st": ints([2, 2]), "w": (5, 16, 3, 3)},
        },
    ),
    "channels last all through": (
        f"{LAST}(x) a = MatMul(t, w) b = Add(a, v) c = Max(b, zero) d = Min(c, six) "
        "p = ReduceMean<keepdims = 0>(d, ax) y = MatMul(p, u)",
        {"w": (4, 6), "v": (6,), "zero": 0.0, "six": 6.0, "ax": ints([1, 2]), "u": (6, 5)},
    ),
    "channels last, joined and gated": (
        f"{LAST}(x) a = Relu(t) k = Concat<axis = 3>(t, a) p = ReduceMean(k, ax) "
        "s = Sigmoid(p) m = Mul(k, s) y = Transpose<perm = [0, 3, 1, 2]>(m)",
        {"ax": ints([1, 2])},
    ),
    "Dual path: slices that are summed and joined": (
        "a = Slice(x, zero, two, one) b = Slice(x, two, four, one) c = Conv(x, w) "
        "d = Slice(c, zero, two, one) e = Slice(c, two, four, one) f = Add(a, d) "
        "y = Concat<axis = 1>(f, b, e)",
        {
            "zero": ints([0]),
            "one": ints([1]),
            "two": ints([2]),
            "four": ints([4]),
            "w": (4, 4, 1, 1),
        },
    ),
    "pixels of 0 to 255, normalised": (
        "a = Div(x, full) b = Sub(a, mean) c = Div(b, std) y = Conv<pads = [1, 1, 1, 1]>(c, w)",
        {"full": 255.0, "mean": (1, 4, 1, 1), "std": np.full((4, 1, 1), 0.2), "w": (5, 4, 3, 3)},
    ),
    "two heads that are averaged": (
        "p = GlobalAveragePool(x) q = GlobalMaxPool(x) f = Flatten(p) g = Flatten(q) "
        "k = Concat<axis = 1>(f, g) a = Gemm<transB = 1>(k, w) b = Gemm<transB = 1>(k, v) "
        "s = Add(a, b) y = Mul(s, half)",
        {"w": (5, 8), "v": (5, 8), "half": 0.5},
    ),
    "a network of its own input twice": ("a = Add(x, x) b = Relu(a) y = Add(b, x)", {}),
    "a border of another kind on each side": (
        "p = Pad(x, pads) q = Relu(p) y = AveragePool<kernel_shape = [3, 3]>(q)",
        {"pads": ints([0, 0, 2, 0, 0, 0, 1, 3])},
    ),
    "a crop": (
        "c = Slice(x, s, e, ax) y = Conv(c, w)",
        {"s": ints([1, 2]), "e": ints([7, 8]), "ax": ints([2, 3]), "w": (5, 4, 3, 3)},
    ),
}


def test_a_convolution_of_a_row_is_one_of_a_picture_of_one_row() -> None:
    body = "f = Reshape(x, s) c = Conv<pads = [1, 1]>(f, w) r = Relu(c) y = GlobalAveragePool(r)"
    found = operators_of(body, shape=(4, 1, 30), s=ints([1, 4, 30]), w=(5, 4, 3))

    assert found == ["Conv2d relu", "GlobalAvgPool"]


def test_a_file_for_several_pictures_is_read_for_one() -> None:
    body = (
        "a = Reshape(x, s) b = Transpose<perm = [0, 2, 1, 3]>(a) c = Reshape(b, t) "
        "v = Reshape(w, u) d = Conv(c, v) p = GlobalAveragePool(d) "
        "f = Concat<axis = 0>(four, rest) y = Reshape(p, f)"
    )
    given: dict[str, Any] = {
        **{"s": ints([4, 2, 2, 64]), "t": ints([4, 4, 8, 8]), "four": ints([4])},
        **{"rest": ints([-1]), "w": (16,), "u": ints([4, 4, 1, 1])},  # the last is of weights
    }
    proto = onnx_file(body, (4, 8, 8), **given)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4

    found = [word(node) for node in imported(proto).model.graph.nodes]

    assert found == ["ChannelShuffle", "Conv2d", "GlobalAvgPool"]


@pytest.mark.parametrize(("body", "given"), ODD.values(), ids=ODD)
def test_an_odd_network_is_read(body: str, given: dict[str, Any]) -> None:
    assert operators_of(body, shape=(4, 8, 8), **given)
