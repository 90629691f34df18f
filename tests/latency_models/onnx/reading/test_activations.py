"""Activations as exporters spell them: each one is read as one, and computes the same."""

import numpy as np
import pytest

from latency_models.onnx.drafts.draft import UnreadableError
from tests.latency_models.parts.onnx_text import operators_of

SQRT_2 = float(np.sqrt(2))
TANH_SCALE = float(np.sqrt(2 / np.pi))
NUMBERS = {
    **{"c0": 0.0, "c1": 1.0, "half": 0.5, "three": 3.0, "six": 6.0, "sixth": 1 / 6},
    **{"root": SQRT_2, "inverse": 1 / SQRT_2, "cubic": 0.044715, "scale": TANH_SCALE},
    **{"power": 3.0, "quick": 1.702, "low": -1.0},
}
HARDSWISH = {
    "one operator": "y = HardSwish(x)",
    "times hard sigmoid": "s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, s)",
    "divided last": "a = Add(x, three) b = Clip(a, c0, six) m = Mul(x, b) y = Div(m, six)",
    "multiplied last": "a = Add(three, x) b = Clip(a, c0, six) m = Mul(b, x) y = Mul(m, sixth)",
    "divided inside": "a = Add(x, three) b = Clip(a, c0, six) d = Div(b, six) y = Mul(d, x)",
    "divided first": "a = Add(x, three) b = Clip(a, c0, six) d = Div(x, six) y = Mul(d, b)",
    "limits of one": "a = Mul(x, sixth) b = Add(a, half) c = Clip(b, c0, c1) y = Mul(x, c)",
    "min and max": "a = Add(x, three) b = Max(a, c0) c = Min(b, six) d = Mul(c, sixth) "
    "y = Mul(x, d)",
    "relu and min": "a = Add(x, three) b = Relu(a) c = Min(b, six) d = Mul(x, c) y = Div(d, six)",
}
GELU = {
    "halved last": "a = Div(x, root) b = Erf(a) c = Add(b, c1) d = Mul(x, c) y = Mul(d, half)",
    "halved first": "h = Mul(x, half) a = Mul(x, inverse) b = Erf(a) c = Add(c1, b) y = Mul(h, c)",
    "halved inside": "a = Mul(x, inverse) b = Erf(a) c = Add(b, c1) d = Mul(c, half) "
    "y = Mul(d, x)",
}
GELU_TANH = {
    "by power": "p = Pow(x, power) q = Mul(p, cubic) r = Add(x, q) s = Mul(r, scale) t = Tanh(s) "
    "u = Add(t, c1) v = Mul(x, u) y = Mul(v, half)",
    "by products": "p = Mul(x, x) q = Mul(p, x) k = Mul(cubic, q) r = Add(k, x) s = Mul(scale, r) "
    "t = Tanh(s) u = Add(c1, t) h = Mul(half, x) y = Mul(h, u)",
    "by a factor": "p = Mul(x, x) k = Mul(p, cubic) o = Add(k, c1) r = Mul(x, o) "
    "s = Mul(r, scale) t = Tanh(s) u = Add(t, c1) v = Mul(u, x) y = Mul(v, half)",
}
LIMITED = {
    "relu": ("y = Relu(x)", ["Activate relu"]),
    "relu by max": ("y = Max(x, c0)", ["Activate relu"]),
    "relu6": ("y = Clip(x, c0, six)", ["Activate relu6"]),
    "hard sigmoid by div": (
        "a = Add(x, three) b = Clip(a, c0, six) y = Div(b, six)",
        ["Activate hardsigmoid"],
    ),
    "Keras's hard sigmoid": (
        "y = HardSigmoid<alpha = 0.2, beta = 0.5>(x)",
        ["BatchNorm hardsigmoid"],
    ),
    "hard tanh": ("y = Clip(x, low, c1)", ["BatchNorm relu6", "BatchNorm"]),
    "from below": ("y = Clip(x, half)", ["BatchNorm relu", "BatchNorm"]),
    "from above": ("y = Min(x, half)", ["BatchNorm relu", "BatchNorm"]),
}


def read(body: str) -> list[str]:
    used = {name: value for name, value in NUMBERS.items() if f"{name}" in body}
    return operators_of(body, opset=20, **used)


@pytest.mark.parametrize("body", HARDSWISH.values(), ids=HARDSWISH)
def test_hard_swish_is_one_operator(body: str) -> None:
    assert read(body) == ["Activate hardswish"]


@pytest.mark.parametrize("body", GELU.values(), ids=GELU)
def test_gelu_by_erf_is_one_operator(body: str) -> None:
    assert read(body) == ["Activate gelu"]


@pytest.mark.parametrize("body", GELU_TANH.values(), ids=GELU_TANH)
def test_gelu_by_tanh_is_one_operator(body: str) -> None:
    assert read(body) == ["Activate gelu_tanh"]


@pytest.mark.parametrize(("body", "wanted"), LIMITED.values(), ids=LIMITED)
def test_limits_are_activations(body: str, wanted: list[str]) -> None:
    assert read(body) == wanted


@pytest.mark.parametrize("body", ["s = Sigmoid(x) y = Mul(x, s)", "s = Sigmoid(x) y = Mul(s, x)"])
def test_silu_is_one_operator(body: str) -> None:
    assert read(body) == ["Activate silu"]


def test_a_swish_of_another_slope_is_one_between_two_factors() -> None:
    body = "q = Mul(x, quick) s = Sigmoid(q) y = Mul(x, s)"

    assert read(body) == ["BatchNorm silu", "BatchNorm"]


def test_gelu_of_one_operator_is_read_in_both_forms() -> None:
    assert read("y = Gelu(x)") == ["Activate gelu"]
    assert read('y = Gelu<approximate = "tanh">(x)') == ["Activate gelu_tanh"]


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.2, 0.3])
def test_leaky_relus_of_known_slopes_are_read(slope: float) -> None:
    name = "leaky_relu" if slope == 0.01 else f"leaky_relu_{slope}"

    assert read(f"y = LeakyRelu<alpha = {slope}>(x)") == [f"Activate {name}"]


def test_a_leaky_relu_of_another_slope_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(UnreadableError, match=r"LeakyRelu 'y' has slope 0\.25 .* 0\.01, 0\.1"):
        read("y = LeakyRelu<alpha = 0.25>(x)")


def test_a_function_that_is_part_of_nothing_known_is_refused() -> None:
    with pytest.raises(UnreadableError, match="Erf 'y' is no part of an activation"):
        read("y = Erf(x)")
