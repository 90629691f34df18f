"""Calibration: known answers of the observers, and networks quantized without training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.nn.calibration import CalibrationError, calibrate, quantize_after_training
from nas.nn.interpreter import from_model
from nas.nn.observers import OBSERVERS, kl, l2, min_max, percentile, squared_error
from nas.nn.quantized_layers import NoRangeError
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import FP32, PRECISIONS, Precision
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import full_precision

LOW = [precision for precision in PRECISIONS.values() if precision != FP32]


def test_min_max_clips_nothing_on_either_side() -> None:
    numbers = np.array([[-3.0, 1, 2], [0, 1, 5]])

    np.testing.assert_allclose(min_max(numbers, -8, 7), [3 / 8, 5 / 7])
    np.testing.assert_allclose(min_max(numbers, 0, 15), [2 / 15, 5 / 15])


def test_percentile_leaves_out_just_the_outermost_share() -> None:
    numbers = np.arange(1001.0)[None]

    np.testing.assert_allclose(percentile(numbers, 0, 255, share=0.9), [900 / 255])
    np.testing.assert_allclose(percentile(numbers, 0, 255, share=1.0), [1000 / 255])


def test_l2_codes_two_points_without_error() -> None:
    numbers = np.array([[0.3] * 5 + [0.9] * 5])

    (step,) = l2(numbers, 0, 3)

    np.testing.assert_allclose(step, 0.3, rtol=1e-6)
    assert squared_error(numbers, np.array([step]), 0, 3)[0] < 1e-12


def test_l2_clips_an_outlier_that_costs_less_than_a_coarse_grid() -> None:
    rng = np.random.default_rng(0)
    numbers = np.append(rng.uniform(0, 1, 100_000), 1.5)[None]

    (step,) = l2(numbers, 0, 15)

    assert 0.9 / 15 < step < 1.1 / 15


def test_kl_keeps_the_bulk_and_clips_a_long_tail() -> None:
    rng = np.random.default_rng(0)
    numbers = np.append(rng.exponential(1, 100_000), [200.0])[None]

    (kept,) = kl(numbers, 0, 255) * 255

    assert 2 < kept < 100 < min_max(numbers, 0, 255)[0] * 255


@pytest.mark.parametrize("observer", OBSERVERS.values(), ids=OBSERVERS)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
@settings(max_examples=5, deadline=None)
def test_steps_grow_with_the_numbers(observer: object, scale: float, seed: int) -> None:
    numbers = np.abs(np.random.default_rng(seed).normal(size=(1, 5000)))
    once, scaled = (observer(x, 0, 255)[0] for x in (numbers, scale * numbers))  # type: ignore[operator]

    assert scaled == pytest.approx(scale * once, rel=2e-2)


def small_net(precision: Precision) -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(32, (3, 3)), net.input)
    x = net.add("conv", Conv2d(32, (3, 3), precision=precision), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(5), x)
    return net.graph()


def real_model(graph: Graph) -> Model:
    return random_model(full_precision(graph), np.random.default_rng(0))


def images(count: int = 64) -> torch.Tensor:
    return torch.randn((count, 1, 8, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "precision", [p for p in PRECISIONS.values() if p.name != "fp32"], ids=str
)
def test_every_precision_can_be_reached_without_training(precision: Precision) -> None:
    graph = small_net(precision)

    model = quantize_after_training(graph, real_model(graph), images())

    outputs = from_model(fold_batch_norm(model))(images()).detach()
    assert bool(outputs.isfinite().all())
    assert float(outputs.std(0).min()) > 0
    again = snap_weights(model).arrays
    for name, array in model.arrays.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("method", OBSERVERS)
def test_eight_bits_change_outputs_little(method: str, per_channel: bool) -> None:
    graph = small_net(PRECISIONS["w8a8"])
    real = real_model(graph)

    model = quantize_after_training(graph, real, images(), method, per_channel=per_channel)

    wanted = from_model(real)(images()).detach()
    difference = (from_model(model)(images()).detach() - wanted).std() / wanted.std()
    assert float(difference) < 0.1
    steps = model.arrays["conv.weight.step"]
    assert len(np.unique(steps)) == (32 if per_channel else 1)


def test_more_bits_are_closer_to_float32() -> None:
    errors = []
    for name in ("w8a8", "w4a8", "w4a4", "w2a2"):
        graph = small_net(PRECISIONS[name])
        real = real_model(graph)
        found = from_model(calibrate(graph, real, images()))(images()).detach()
        errors.append(float((found - from_model(real)(images()).detach()).square().mean()))

    assert errors == sorted(errors)


@pytest.mark.parametrize(
    ("given_images", "words"),
    [
        (images(0), "at least 2 images, got 0"),
        (torch.zeros(4, 1, 8, 8), "finite and not constant, got values from 0 to 0"),
        (torch.full((4, 1, 8, 8), float("nan")), "finite and not constant"),
        (torch.randn(4, 3, 8, 8), r"input shape \(1, 8, 8\), got \(3, 8, 8\)"),
    ],
)
def test_images_that_tell_nothing_are_refused(given_images: torch.Tensor, words: str) -> None:
    graph = small_net(PRECISIONS["w8a8"])

    with pytest.raises(CalibrationError, match=words):
        calibrate(graph, real_model(graph), given_images)


def test_a_map_without_a_range_is_named() -> None:
    graph = small_net(PRECISIONS["w8a8"])
    real = real_model(graph)
    dead = dict(real.arrays) | {"stem.norm.bias": np.full(32, -1e6, np.float32)}

    with pytest.raises(NoRangeError, match="stem"):
        calibrate(graph, Model(real.graph, dead), images())


def test_an_unknown_method_and_another_network_are_refused() -> None:
    graph = small_net(PRECISIONS["w8a8"])

    with pytest.raises(UserError, match="min_max, percentile, kl, l2, got 'mse'"):
        calibrate(graph, real_model(graph), images(), "mse")
    other = random_model(
        Graph(graph.input_shape, real_model(graph).graph.nodes[:1]), np.random.default_rng(0)
    )
    with pytest.raises(UserError, match="differs at conv"):
        calibrate(graph, other, images())
