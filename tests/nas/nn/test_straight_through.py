"""Roundings and signs: values and gradients, by hand and by the papers' formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nas.nn.straight_through import first_step, inverse, mean_magnitude, quantized, sign


def lsq_by_hand(
    x: np.ndarray, step: np.ndarray, gradient: np.ndarray, low: int, high: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equations 1, 2, 3 and 5 of the paper, number by number; rows have a step each."""
    value, of_x, of_step = np.zeros(x.shape), np.zeros(x.shape), np.zeros(step.shape)
    for row, s in enumerate(step):
        for column, v in enumerate(x[row]):
            ratio = v / s
            value[row, column] = s * np.rint(np.clip(ratio, low, high))
            if low < ratio < high:
                of_x[row, column] = gradient[row, column]
                slope = -ratio + np.rint(ratio)
            else:
                slope = low if ratio <= low else high
            of_step[row] += gradient[row, column] * slope
    return value, of_x, of_step


def gradients(x: Tensor, step: Tensor, weights: list[float], low: int, high: int) -> list[float]:
    y = quantized(x, step, low, high, numbers=4)
    torch.autograd.backward((y * torch.tensor(weights)).sum())
    assert step.grad is not None
    return y.tolist()


def test_a_step_learns_from_rounding_inside_and_from_the_limit_outside() -> None:
    x = torch.tensor([-0.3, 0.2, 0.6, 1.1, 2.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)

    values = gradients(x, step, [1.0, 10.0, 100.0, 1000.0, 10000.0], 0, 3)

    assert values == [0.0, 0.0, 0.5, 1.0, 1.5]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 10.0, 100.0, 1000.0, 0.0]
    # slopes: 0 below; 0 - 0.4; 1 - 1.2; 2 - 2.2; 3 above; scale 1 / sqrt(4 * 3)
    expected = (0 - 0.4 * 10 - 0.2 * 100 - 0.2 * 1000 + 3 * 10000) / 12**0.5
    assert step.grad is not None
    assert step.grad.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0, 3), (-2, 1), (0, 255), (-127, 127), (-8, 7)])
def test_gradients_are_those_of_the_paper(low: int, high: int) -> None:
    rng = np.random.default_rng(0)
    x, upstream = rng.normal(0, 2, (3, 40)), rng.normal(0, 1, (3, 40))
    step = rng.uniform(0.5, 1.5, 3) * 4 / high
    value, of_x, of_step = lsq_by_hand(x, step, upstream, low, high)
    weight = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    steps = torch.tensor(step[:, None], dtype=torch.float32, requires_grad=True)

    y = quantized(weight, steps, low, high, numbers=40)
    torch.autograd.backward(y, torch.tensor(upstream, dtype=torch.float32))

    assert weight.grad is not None
    assert steps.grad is not None
    assert y.detach().numpy() == pytest.approx(value, abs=1e-5)
    assert weight.grad.numpy() == pytest.approx(of_x, abs=1e-6)
    expected = of_step / (40 * high) ** 0.5
    assert steps.grad.numpy()[:, 0] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_map_is_multiplied_by_the_inverse_and_weights_are_divided() -> None:
    step = torch.tensor(0.7)
    x = torch.linspace(0, 100, 200001)
    by_inverse = (x * inverse(step)).round()
    divided = (x / step).round()
    assert not torch.equal(by_inverse, divided)

    assert torch.equal(quantized(x, step, 0, 255, 1) / step, (by_inverse * step) / step)
    of_weights = quantized(x[None], step.reshape(1, 1), -200, 200, 1)
    assert torch.equal(of_weights[0], divided * step)


def test_the_inverse_is_rounded_once() -> None:
    steps = torch.tensor([0.7, 1e-3, 3.1415927, 1.2e-38])

    expected = (1 / steps.numpy().astype(np.float64)).astype(np.float32)

    assert np.array_equal(inverse(steps).numpy(), expected)


@given(st.floats(1e-3, 1e3), st.integers(1, 255))
def test_the_first_step_is_that_of_the_paper(mean: float, highest: int) -> None:
    found = first_step(torch.tensor(mean, dtype=torch.float64), highest).item()

    assert found == pytest.approx(2 * mean / highest**0.5)


def test_signs_pass_gradients_of_what_is_at_most_one() -> None:
    x = torch.tensor([-1.5, -1.0, -0.2, -0.0, 0.0, 0.7, 1.0, 1.01], requires_grad=True)

    y = sign(x)
    torch.autograd.backward(y, torch.arange(1.0, 9.0))

    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 7, 0]


def test_binary_weights_learn_through_sign_and_magnitude() -> None:
    values = [[0.5, -0.25, 2.0], [-1.0, 0.1, 0.4]]
    upstream = [[1.0, 2.0, 4.0], [3.0, -1.0, 0.5]]
    weight = torch.tensor(values, requires_grad=True)

    torch.autograd.backward(sign(weight) * mean_magnitude(weight), torch.tensor(upstream))

    expected = np.zeros((2, 3))
    for row, (numbers, given_) in enumerate(zip(values, upstream, strict=True)):
        alpha = np.mean(np.abs(numbers))
        along = sum(g * np.sign(w) for g, w in zip(given_, numbers, strict=True))
        for column, w in enumerate(numbers):
            clipped = given_[column] if abs(w) <= 1 else 0
            expected[row, column] = alpha * clipped + np.sign(w) * along / 3
    assert weight.grad is not None
    assert weight.grad.numpy() == pytest.approx(expected, rel=1e-6)


def test_the_magnitude_is_rounded_once() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (4, 999)).astype(np.float32))

    expected = np.abs(weight.numpy().astype(np.float64)).mean(1).astype(np.float32)

    assert np.array_equal(mean_magnitude(weight).numpy()[:, 0], expected)
