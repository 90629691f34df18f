"""Kernels: each agrees with plain numpy on random shapes and touches nothing but its map."""

import platform
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_models.kernels.conv2d import Conv2dKernel, estimated_cycles
from latency_models.kernels.cpu import Cpu, host_cpu
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.emitter import split_evenly
from latency_models.kernels.pointwise import (
    BorderKernel,
    LayoutKernel,
    PointwiseKernel,
    ShuffleKernel,
)
from latency_models.kernels.pool import GlobalPoolKernel, PoolKernel
from latency_models.kernels.view import View
from latency_models.machine_code import Address, Call, compile_kernels, kernel_module
from search_spaces.operators import ACTIVATIONS, Shape, Size, window_size
from tests.latency_models import oracle
from tests.latency_models.kernel_runs import (
    GUARD,
    MARK,
    assert_close,
    memory_with,
    run_kernel,
    run_memory,
)

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")

CPUS = (host_cpu(), Cpu("x86-64-v3"), Cpu("x86-64"))
UNITS = {cpu: cpu.vector_unit for cpu in CPUS}


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


cpus = st.sampled_from(CPUS)
activations = st.sampled_from(ACTIVATIONS)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))
seeds = st.integers(0, 1000)


def sizes(kernel: Size, dilation: Size, spare: int) -> st.SearchStrategy[Size]:
    """Heights and widths that hold at least one window."""
    height, width = (d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    return st.tuples(st.integers(height, height + spare), st.integers(width, width + spare))


@st.composite
def views(draw: st.DrawFn, shape: Shape, least_halo: int = 0) -> View:
    """A view of ``shape``, perhaps among other channels, with some border."""
    halo = draw(st.integers(least_halo, least_halo + 2))
    return View(*shape, halo, shape[0] + draw(st.integers(0, 9)))


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2dKernel:
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    ins, outs = groups * draw(st.integers(1, 20)), groups * draw(st.integers(1, 40))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    padding = draw(paddings)
    size = draw(sizes(kernel, dilation, 12))
    height, width = window_size(size, kernel, stride, padding, dilation)
    source = draw(views((ins, *size), max(padding)))
    if draw(st.integers(0, 3)) == 0:
        source = View(ins, size[0], size[1], max(padding), planar=True)
    target = draw(views((outs, height, width)))
    residual = draw(st.none() | views((outs, height, width)))
    return Conv2dKernel(
        source, target, kernel, stride, padding, dilation, groups, draw(activations), residual
    )


def check_convolution(
    kernel: Conv2dKernel | DepthwiseKernel, groups: int, cpu: Cpu, tile: object, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=kernel.source.shape)
    outs = kernel.target.channels
    weight = rng.normal(size=(outs, kernel.source.channels // groups, *kernel.kernel_size))
    bias = rng.normal(size=outs)
    inputs = [(kernel.source, x)]
    expected = oracle.convolve(
        x, weight, bias, kernel.stride, kernel.padding, kernel.dilation, groups
    )
    if kernel.residual is not None:
        inputs.append((kernel.residual, rng.normal(size=expected.shape)))
        expected = expected + inputs[1][1]
    packed = kernel.pack(weight, bias, UNITS[cpu], tile)  # type: ignore[arg-type]

    result = run_kernel(kernel, cpu, inputs, packed, tile)

    assert_close(result, oracle.activate(kernel.activation, expected))


@given(convolutions(), cpus, st.integers(0, 7), seeds)
@examples(40)
def test_a_convolution_is_the_plain_sum(
    kernel: Conv2dKernel, cpu: Cpu, choice: int, seed: int
) -> None:
    tiles = kernel.candidate_tiles(UNITS[cpu], 8)

    check_convolution(kernel, kernel.groups, cpu, tiles[choice % len(tiles)], seed)


@st.composite
def depthwise_convolutions(draw: st.DrawFn) -> DepthwiseKernel:
    channels = draw(st.integers(1, 40))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride, dilation = draw(pairs), draw(st.sampled_from(((1, 1), (1, 2), (2, 2))))
    padding = draw(paddings)
    size = draw(sizes(kernel, dilation, 10))
    height, width = window_size(size, kernel, stride, padding, dilation)
    source = draw(views((channels, *size), max(padding)))
    target = draw(views((channels, height, width)))
    residual = draw(st.none() | views((channels, height, width)))
    return DepthwiseKernel(
        source, target, kernel, stride, padding, dilation, draw(activations), residual
    )


@given(depthwise_convolutions(), cpus, st.integers(0, 7), seeds)
@examples(25)
def test_a_depthwise_convolution_is_the_plain_sum(
    kernel: DepthwiseKernel, cpu: Cpu, choice: int, seed: int
) -> None:
    tiles = kernel.candidate_tiles(UNITS[cpu], 8)

    check_convolution(kernel, kernel.source.channels, cpu, tiles[choice % len(tiles)], seed)


@pytest.mark.parametrize("cpu", CPUS, ids=str)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (1, 0)])
def test_pooling_is_the_plain_window(
    kind: Any,  # noqa: ANN401  a literal
    ceil_mode: bool,
    padding: tuple[int, int],
    cpu: Cpu,
) -> None:
    ceil_mode = ceil_mode and kind == "max"
    x = np.random.default_rng(0).normal(size=(21, 8, 11)) - 5
    expected = oracle.pool(kind, x, (3, 2), (2, 3), padding, ceil_mode)
    source = View(21, 8, 11, 1, 24)
    kernel = PoolKernel(
        kind,
        source,
        View(21, expected.shape[1], expected.shape[2], 1, 30),
        (3, 2),
        (2, 3),
        padding,
    )

    assert_close(run_kernel(kernel, cpu, [(source, x)]), expected)


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
    mean = View(channels, 1, 1, 1, channels + 3)

    copied = run_kernel(
        PointwiseKernel(source, target, None, None, activation), cpu, [(source, x)]
    )
    added = run_kernel(
        PointwiseKernel(source, target, addend, None, activation), cpu, [(source, x), (addend, y)]
    )
    scaled = run_kernel(
        PointwiseKernel(source, target, None, gates, activation), cpu, [(source, x), (gates, gate)]
    )
    pooled = run_kernel(GlobalPoolKernel(source, mean), cpu, [(source, x)])

    assert_close(copied, oracle.activate(activation, x))
    assert_close(added, oracle.activate(activation, x + y))
    assert_close(scaled, oracle.activate(activation, x * gate))
    assert_close(pooled, x.mean(axis=(1, 2), keepdims=True))


@pytest.mark.parametrize("cpu", CPUS, ids=str)
@pytest.mark.parametrize(("channels", "groups"), [(12, 2), (116, 2), (30, 3), (64, 4), (40, 8)])
def test_a_shuffle_transposes_groups(channels: int, groups: int, cpu: Cpu) -> None:
    x = np.random.default_rng(0).normal(size=(channels, 3, 5))
    source, target = View(channels, 3, 5, 1, channels + 3), View(channels, 3, 5, 2, channels + 1)

    result = run_kernel(ShuffleKernel(source, target, groups), cpu, [(source, x)])

    assert_close(result, oracle.shuffle(x, groups))


@pytest.mark.parametrize("cpu", CPUS, ids=str)
@pytest.mark.parametrize("shape", [(3, 19, 21), (37, 4, 5), (16, 8, 16), (1, 3, 3)])
def test_a_change_of_layout_changes_no_number(shape: Shape, cpu: Cpu) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    planar, bordered = View(*shape, planar=True), View(*shape, 2, planar=True)
    adjacent = View(*shape, 1, shape[0] + 3)

    for source, target in ((planar, adjacent), (adjacent, planar), (planar, bordered)):
        assert_close(run_kernel(LayoutKernel(source, target), cpu, [(source, x)]), x)


@pytest.mark.parametrize("cpu", CPUS, ids=str)
@pytest.mark.parametrize(
    "view",
    [View(5, 4, 3, 2), View(40, 1, 1, 1), View(3, 6, 5, 1, planar=True), View(16, 2, 9, 3)],
    ids=str,
)
def test_a_border_is_zeroed_and_its_map_left_alone(view: View, cpu: Cpu) -> None:
    memory = memory_with(view, np.ones(view.shape))
    memory[memory == 0] = MARK
    kernel = BorderKernel()

    after = run_memory(
        kernel.function(UNITS[cpu]), cpu, [GUARD + view.origin], memory, kernel.numbers(view)
    )

    np.testing.assert_array_equal(after, memory_with(view, np.ones(view.shape)))


def test_tiles_fit_the_registers_and_the_default_comes_first() -> None:
    kernel = Conv2dKernel(View(64, 28, 28, 1), View(96, 28, 28), (3, 3), (1, 1), (1, 1))
    for unit in UNITS.values():
        tiles = kernel.candidate_tiles(unit, 8)

        assert tiles[0] == kernel.default_tile(unit)
        assert len(set(tiles)) == 8
        for tile in tiles:
            assert tile.rows * tile.columns * tile.vectors < unit.registers
            assert estimated_cycles(kernel, unit, tile) >= estimated_cycles(kernel, unit, tiles[0])


@given(st.integers(1, 300), st.integers(1, 40))
def test_parts_are_as_equal_as_can_be(total: int, largest: int) -> None:
    runs = split_evenly(total, largest)

    sizes = [size for _, count, size in runs for _ in range(count)]
    assert sum(sizes) == total
    assert len(sizes) == -(-total // largest)
    assert max(sizes) - min(sizes) <= 1
    assert runs[-1][0] + runs[-1][1] * runs[-1][2] == total


def assembly(kernel: Conv2dKernel | DepthwiseKernel, cpu: Cpu) -> str:
    unit = cpu.vector_unit
    function = kernel.function(unit, kernel.default_tile(unit))  # type: ignore[arg-type]
    call = Call("kernel", tuple(Address("workspace", 0) for _ in kernel.arguments))
    module = kernel_module(
        {"kernel": function},
        {"run": [call]},
        {"input": (1,), "weights": (1,), "workspace": (1,), "output": (1,)},
    )
    return str(compile_kernels(module, cpu.target).inspect_source("asm"))


KERNELS = (
    Conv2dKernel(View(32, 14, 14, 1), View(40, 14, 14), (3, 3), (1, 1), (1, 1)),
    DepthwiseKernel(View(40, 14, 14, 1), View(40, 14, 14), (3, 3), (1, 1), (1, 1)),
)


@pytest.mark.parametrize(
    ("cpu", "instruction"),
    [
        (Cpu("emeraldrapids"), r"vfmadd\d+ps\s.*%zmm"),
        (Cpu("x86-64-v3"), r"vfmadd\d+ps\s.*%ymm"),
        (Cpu("x86-64"), r"mulps\s.*%xmm"),
        (Cpu("cortex-a72", "aarch64-linux-gnu"), r"fmla\s+v\d+\.4s"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel", KERNELS, ids=["conv2d", "depthwise"])
def test_kernels_use_the_widest_multiply_add(
    kernel: Conv2dKernel | DepthwiseKernel, cpu: Cpu, instruction: str
) -> None:
    code = assembly(kernel, cpu)

    assert re.search(instruction, code)
    assert "TVMBackendAllocWorkspace" not in code, "accumulators must not be on the heap"


def spills(code: str) -> int:
    """Whole vector registers that go to the stack and back."""
    return sum("%zmm" in line and "(%rsp)" in line for line in code.splitlines())


@pytest.mark.parametrize("kernel", KERNELS, ids=["conv2d", "depthwise"])
def test_the_accumulators_stay_in_registers(kernel: Conv2dKernel | DepthwiseKernel) -> None:
    assert spills(assembly(kernel, Cpu("emeraldrapids"))) == 0


def test_large_weights_are_asked_for_ahead_of_time() -> None:
    large = Conv2dKernel(View(512, 14, 14), View(512, 14, 14))
    small = Conv2dKernel(View(32, 14, 14), View(32, 14, 14))

    assert "prefetch" in assembly(large, Cpu("emeraldrapids"))
    assert "prefetch" not in assembly(small, Cpu("emeraldrapids"))
