"""Kernels without weights: each number alone, pools and means, from and to maps of any form."""

import platform
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.devices.cpu import Cpu
from latency_models.kernels.epilogue import Epilogue, EpilogueValues
from latency_models.kernels.plain import MagnitudeKernel, PointwiseKernel
from latency_models.kernels.reductions import (
    CodePoolKernel,
    GlobalPoolKernel,
    LayerNormKernel,
    LocalResponseKernel,
    PoolKernel,
)
from latency_models.kernels.view import Form, View
from search_spaces.graphs.operators import LayerNorm, LocalResponseNorm, Shape
from tests.latency_models.kernels.kernel_runs import Array, assert_close, run_kernel
from tests.latency_models.kernels.kernel_strategies import (
    activations,
    cpus,
    examples,
    seeds,
    views,
)
from tests.latency_models.kernels.kernel_targets import NIBBLES, SIGNED
from tests.latency_models.kernels.plain_cases import PLAIN_CASES, run_plain_case
from tests.latency_models.parts import oracle
from tests.latency_models.parts.processors import REAL_CPUS
from tests.oracle import activated, layer_norm, local_response_norm

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")


@pytest.mark.sweep(4)
@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", PLAIN_CASES)
def test_a_kernel_without_weights_fills_all_its_targets(name: str, cpu: Cpu) -> None:
    run_plain_case(PLAIN_CASES[name], cpu)


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize(
    ("kind", "ceil_mode", "padding"),
    [
        ("max", False, (0, 0)),
        ("max", True, (1, 1)),
        ("max", True, (1, 0)),
        ("average", False, (0, 0)),
        ("average", False, (1, 0)),
    ],
)
def test_pooling_is_the_plain_window(
    kind: Literal["max", "average"], ceil_mode: bool, padding: tuple[int, int], cpu: Cpu
) -> None:
    x = np.random.default_rng(0).normal(size=(21, 8, 11)) - 5
    expected = oracle.pool(kind, x, (3, 2), (2, 3), padding, ceil_mode)
    source = View(21, 8, 11, 1, 24)
    target = View(21, expected.shape[1], expected.shape[2], 1, 30)
    kernel = PoolKernel((source,), Epilogue((target,)), kind, (3, 2), (2, 3), padding)

    assert_close(write_once(kernel, cpu, x), expected)


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("form", [SIGNED, NIBBLES], ids=str)
@pytest.mark.parametrize("channels", [1, 85])
def test_pooling_codes_gives_the_largest_of_each_window(
    channels: int, form: Form, cpu: Cpu
) -> None:
    source = View(channels, 9, 8, 1, channels + 3, form=form)
    x = np.random.default_rng(0).integers(0, form.highest + 1, size=source.shape)
    expected = oracle.pool("max", x.astype(float), (3, 3), (2, 2), (1, 1))
    target = View(channels, 5, 4, 1, channels + 7, form=form)
    kernel = CodePoolKernel(source, target, (3, 3), (2, 2), (1, 1))

    (result,) = run_kernel(kernel, cpu, {"source": (source, x), "target": (target, None)})

    np.testing.assert_array_equal(result, expected)


def write_once(
    kernel: PointwiseKernel | PoolKernel | GlobalPoolKernel, cpu: Cpu, *sources: Array
) -> Array:
    """What a kernel with one real target writes."""
    maps: dict[str, tuple[View, Array | None]] = {
        f"source{i}": pair for i, pair in enumerate(zip(kernel.sources, sources, strict=True))
    }
    (result,) = run_kernel(kernel, cpu, maps | {"target0": (kernel.target, None)})
    return result


@given(st.data(), cpus, st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), seeds)
@examples(12)
def test_pointwise_kernels_treat_each_number_alone(
    data: st.DataObject, cpu: Cpu, channels: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (channels, height, width)
    activation = data.draw(activations)
    x, y, gate = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=(channels, 1, 1))
    source, target, addend = (data.draw(views(shape)) for _ in range(3))
    gates = data.draw(views((channels, 1, 1)))
    end = Epilogue((target,), activation)
    mean = Epilogue((View(channels, 1, 1, 1, channels + 3),))

    copied = write_once(PointwiseKernel((source,), end), cpu, x)
    added = write_once(PointwiseKernel((source, addend), end, "add"), cpu, x, y)
    scaled = write_once(PointwiseKernel((source, gates), end, "scale"), cpu, x, gate)
    pooled = write_once(GlobalPoolKernel((source,), mean), cpu, x)

    assert_close(copied, activated(activation, x))
    assert_close(added, activated(activation, x + y))
    assert_close(scaled, activated(activation, x * gate))
    assert_close(pooled, x.mean(axis=(1, 2), keepdims=True))


@given(cpus, st.integers(1, 70), seeds)
@examples(10)
def test_a_magnitude_is_the_mean_of_absolute_values(cpu: Cpu, channels: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(channels, 3, 4)).astype(np.float32)
    source, target = View(channels, 3, 4, 1, channels + 5), View(1, 3, 4, 2)
    kernel = MagnitudeKernel((source,), Epilogue((target,)))

    (result,) = run_kernel(kernel, cpu, {"source0": (source, x), "target0": (target, None)})

    assert_close(result, np.abs(x).mean(0, keepdims=True))


def test_a_pool_of_ones_counts_its_padding() -> None:
    shape: Shape = (5, 4, 4)
    source, target = View(*shape, 1), View(*shape)
    kernel = PoolKernel((source,), Epilogue((target,)), "average", (3, 3), (1, 1), (1, 1))

    result = write_once(kernel, REAL_CPUS[0], np.ones(shape))

    assert_close(result[:, 0, 0], np.full(5, 4 / 9))
    assert_close(result[:, 1, 1], np.ones(5))


@st.composite
def norm_views(draw: st.DrawFn, channels: int) -> tuple[View, View]:
    shape = (channels, draw(st.integers(1, 5)), draw(st.integers(1, 7)))
    return draw(views(shape)), draw(views(shape))


@given(st.data(), cpus, st.integers(1, 50), st.sampled_from((1, 3, 5, 15)), seeds)
@examples(12)
def test_a_response_norm_is_that_of_the_channels_around(
    data: st.DataObject, cpu: Cpu, channels: int, size: int, seed: int
) -> None:
    source, target = data.draw(norm_views(channels))
    settings = (size, 3.0, data.draw(st.sampled_from((0.5, 0.75, 1.0, 2.3))), 0.1)
    x = np.random.default_rng(seed).normal(0, 3, size=source.shape).astype(np.float32)
    kernel = LocalResponseKernel((source,), Epilogue((target,)), *settings)

    (y,) = run_kernel(kernel, cpu, {"source0": (source, x), "target0": (target, None)})

    wanted = local_response_norm(LocalResponseNorm(*settings), {}, x[None].astype(float))[0]
    np.testing.assert_allclose(y, wanted, rtol=4e-6, atol=0)


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
def test_a_response_norm_of_numbers_of_any_size_is_right_or_tiny(cpu: Cpu) -> None:
    view = View(21, 1, 60)
    x = np.random.default_rng(0).choice([1, -1], view.shape) * np.float32(10) ** np.linspace(
        -37, 38, 60, dtype=np.float32
    )
    kernel = LocalResponseKernel((view,), Epilogue((view,)), 5, 1.0, 0.75, 2.0)

    (y,) = run_kernel(kernel, cpu, {"source0": (view, x), "target0": (view, None)})

    wanted = local_response_norm(LocalResponseNorm(5, 1.0, 0.75, 2.0), {}, x[None].astype(float))
    squares_fit = np.abs(x) < 1e18
    np.testing.assert_allclose(y[squares_fit], wanted[0][squares_fit], rtol=2e-5)
    assert np.isfinite(y).all()


@given(st.data(), cpus, st.integers(1, 70), st.floats(-1000, 1000), seeds)
@examples(12)
def test_a_layer_norm_takes_mean_and_deviation_from_each_pixel(
    data: st.DataObject, cpu: Cpu, channels: int, mean: float, seed: int
) -> None:
    source, target = data.draw(norm_views(channels))
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 2, size=source.shape).astype(np.float32)
    gain, bias = rng.normal(size=(2, channels)).astype(np.float32)
    kernel = LayerNormKernel((source,), Epilogue((target,), scaled=True), 1e-3)
    padded, places = kernel.padded_channels(cpu.vector_unit), kernel.places(cpu.vector_unit)
    constants = kernel.epilogue.pack(EpilogueValues((None,), gain, bias), padded, places)

    maps: dict[str, tuple[View, Array | None]] = {"source0": (source, x)}
    (y,) = run_kernel(kernel, cpu, maps | {"target0": (target, None)}, {"constants": constants})

    arrays = {"gain": gain.astype(float), "bias": bias.astype(float)}
    wanted = layer_norm(LayerNorm(1e-3), arrays, x[None].astype(float))[0]
    # The mean is rounded to numbers of its own size.
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 + 4e-7 * abs(mean))
