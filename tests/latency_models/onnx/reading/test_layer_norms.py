"""Layer norms as files before opset 17 spell them: each is read as one, and computes the same."""

import numpy as np
import pytest

from latency_models.onnx.drafts.draft import UnreadableError
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UserError
from tests.latency_models.parts.onnx_text import nodes_of, operators_of

GIVEN = {"two": 2.0, "half": 0.5, "minus": -0.5, "one": 1.0, "e": 0.001, "bessel": 6 / 5}
MEAN = "m = ReduceMean<axes = [-1]>(t) d = Sub(t, m) "
SQUARE = "q = Pow(d, two) v = ReduceMean<axes = [-1]>(q) a = Add(v, e) "
NORMS = {
    "torch": MEAN + SQUARE + "s = Sqrt(a) n = Div(d, s)",
    "by a product": MEAN + "q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) a = Add(e, v) "
    "s = Sqrt(a) n = Div(d, s)",
    "the difference twice": MEAN
    + "f = Sub(t, m) q = Mul(f, d) v = ReduceMean<axes = [-1]>(q) a = Add(v, e) s = Sqrt(a) "
    "n = Div(f, s)",
    "roots by powers": MEAN + SQUARE + "s = Pow(a, half) n = Div(d, s)",
    "times the inverse root": MEAN + SQUARE + "s = Sqrt(a) r = Reciprocal(s) n = Mul(r, d)",
    "one over the root": MEAN + SQUARE + "s = Sqrt(a) r = Div(one, s) n = Mul(d, r)",
    "to minus a half": MEAN + SQUARE + "r = Pow(a, minus) n = Mul(d, r)",
    "root of the inverse": MEAN + SQUARE + "i = Reciprocal(a) r = Sqrt(i) n = Mul(d, r)",
    "mean first and negated": "m = ReduceMean<axes = [-1]>(t) o = Neg(m) d = Add(o, t) "
    + SQUARE
    + "s = Sqrt(a) n = Div(d, s)",
    "without bias of the variance": MEAN
    + "q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) b = Mul(v, bessel) a = Add(b, e) s = Sqrt(a) "
    "n = Div(d, s)",
}


def between(body: str) -> str:
    """A body that gives ``z`` from ``t``, whose channels come last."""
    return f"t = Transpose<perm = [0, 2, 3, 1]>(x) {body} y = Transpose<perm = [0, 3, 1, 2]>(z)"


def given(body: str, **more: object) -> dict[str, object]:
    return {name: GIVEN[name] for name in GIVEN if name in body} | {
        "shape": (6, 5, 4),
        "opset": 16,
        **more,
    }


@pytest.mark.parametrize("body", NORMS.values(), ids=NORMS)
def test_a_spelled_layer_norm_is_one_with_its_gain_and_bias(body: str) -> None:
    body = between(f"{body} g = Mul(n, gain) z = Add(g, bias)")

    (node,) = nodes_of(body, **given(body, gain=(6,), bias=(6,)))

    epsilon = 0.001 if "bessel" not in body else 0.001 / 1.2
    assert isinstance(node.operator, ops.LayerNorm)
    assert node.operator.epsilon == pytest.approx(epsilon)


def test_one_over_the_first_axis_is_read_where_channels_come_first() -> None:
    body = (
        "m = ReduceMean<axes = [1]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes = [1]>(q) "
        "a = Add(v, e) s = Sqrt(a) n = Div(d, s) g = Mul(n, gain) y = Add(g, bias)"
    )
    arrays = {"gain": (6, 1, 1), "bias": (1, 6, 1, 1)}

    assert operators_of(body, **given(body, **arrays)) == ["LayerNorm"]


def test_one_of_a_vector_is_read() -> None:
    body = (
        "p = GlobalAveragePool(x) t = Flatten(p) " + NORMS["torch"] + " g = Mul(n, gain) "
        "h = Add(g, bias) y = Gemm<transB = 1>(h, w)"
    )

    assert operators_of(body, **given(body, gain=(6,), bias=(6,), w=(3, 6))) == [
        "GlobalAvgPool",
        "LayerNorm",
        "Linear",
    ]


REFUSED = {
    "the difference is read elsewhere too": NORMS["torch"] + " z = Add(n, d)",
    "epsilon outside of the root": MEAN
    + "q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) s = Sqrt(v) a = Add(s, e) z = Div(d, a)",
    "another map's deviation": MEAN + "q = Mul(t, t) v = ReduceMean<axes = [-1]>(q) "
    "a = Add(v, e) s = Sqrt(a) z = Div(d, s)",
    "without epsilon": MEAN
    + "q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) s = Sqrt(v) z = Div(d, s)",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_is_nearly_a_layer_norm_is_refused(body: str) -> None:
    with pytest.raises(UserError, match="adds or multiplies by one number per pixel, which"):
        operators_of(between(body), **given(body))


def test_a_map_times_one_number_per_pixel_is_refused() -> None:
    body = "m = ReduceMean<axes = [1]>(x) s = Sigmoid(m) y = Mul(x, s)"

    with pytest.raises(UserError, match="Mul 'y' adds or multiplies by one number per pixel"):
        operators_of(body, **given(body))


def test_slopes_of_prelu_are_a_sum_of_two_scaled_maps() -> None:
    slopes = np.array([0.25, -0.5, 0, 1, 2, 0.1], np.float32).reshape(6, 1, 1)

    found = operators_of("y = PRelu(x, slopes)", shape=(6, 5, 4), slopes=slopes)

    assert found == ["Activate relu", "BatchNorm", "BatchNorm", "Add"]
    assert operators_of("y = PRelu(x, slopes)", slopes=0.1) == ["Activate leaky_relu_0.1"]


def test_a_slope_for_each_pixel_is_refused() -> None:
    with pytest.raises(UnreadableError, match="PRelu 'y' has another slope for each pixel"):
        operators_of("y = PRelu(x, slopes)", shape=(2, 3, 3), slopes=(2, 3, 3))
