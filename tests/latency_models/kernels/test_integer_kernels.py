"""Kernels of codes: sums are exact, on every instruction set, whatever the codes."""

import platform
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from latency_models.codegen.dot import LongVnniDot
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.integer_depthwise import IntegerDepthwiseKernel, row_plan
from latency_models.kernels.epilogue import CodeStep, Epilogue, EpilogueValues
from latency_models.kernels.view import REAL, Form, View
from search_spaces.quantization.codes import weight_limits
from tests.integer_oracle import activated
from tests.latency_models.kernels.assembly import assembly, spills
from tests.latency_models.kernels.kernel_cases import CASES, run_case
from tests.latency_models.kernels.kernel_runs import run_kernel
from tests.latency_models.kernels.kernel_strategies import (
    activations,
    cpus,
    examples,
    geometries,
    seeds,
    views,
)
from tests.latency_models.kernels.kernel_targets import NIBBLES, SIGNED, UNSIGNED
from tests.latency_models.parts import oracle
from tests.latency_models.parts.processors import CPUS, UNITS

runs_here = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
IntegerConvolution = IntegerConvKernel | IntegerDepthwiseKernel
Array = NDArray[np.float32]
Codes = NDArray[np.int8]
F = np.float32
STEP, RESIDUAL_STEP = 0.11, 0.07

INTEGER_CASES = [
    name
    for name, case in CASES.items()
    if case.kind in (IntegerConvKernel, IntegerDepthwiseKernel)
]


@pytest.mark.sweep(3)
@runs_here
@pytest.mark.parametrize("cpu", CPUS[::2], ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", INTEGER_CASES)
def test_an_integer_kernel_fills_all_its_targets_exactly(name: str, cpu: Cpu) -> None:
    run_case(CASES[name], cpu)


# Random shapes


@st.composite
def epilogues(draw: st.DrawFn, shape: tuple[int, int, int]) -> Epilogue:
    """One target of numbers, perhaps one of codes, perhaps a residual of either."""
    targets = [draw(views(shape))]
    if draw(st.booleans()):
        targets.append(draw(views(shape, form=draw(st.sampled_from((SIGNED, UNSIGNED))))))
    form = draw(st.sampled_from((None, REAL, SIGNED)))
    residual = draw(views(shape, form=form)) if form else None
    return Epilogue(tuple(targets), draw(activations), residual, scaled=True)


@st.composite
def convolutions(draw: st.DrawFn) -> IntegerConvKernel:
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    ins, outs = groups * draw(st.integers(1, 40)), groups * draw(st.integers(1, 40))
    window = draw(geometries(3, 8))
    form = draw(st.sampled_from((SIGNED, UNSIGNED, NIBBLES, Form("codes", 8, 3))))
    source = draw(views((ins, *window.size), max(window.padding), form))
    end = draw(epilogues((outs, *window.out_size)))
    return IntegerConvKernel(source, end, *window.fields, groups, draw(st.sampled_from((8, 4))))


@st.composite
def depthwise_convolutions(draw: st.DrawFn) -> IntegerDepthwiseKernel:
    channels, window = draw(st.integers(1, 40)), draw(geometries(5, 8))
    form = draw(st.sampled_from((SIGNED, UNSIGNED, Form("codes", 8, 3))))
    source = draw(views((channels, *window.size), max(window.padding), form))
    end = draw(epilogues((channels, *window.out_size)))
    return IntegerDepthwiseKernel(source, end, *window.fields)


@runs_here
@given(convolutions(), cpus, st.integers(0, 7), seeds)
@examples(32)
def test_a_convolution_of_codes_is_the_plain_integer_sum(
    kernel: IntegerConvKernel, cpu: Cpu, choice: int, seed: int
) -> None:
    check(kernel, cpu, choice, seed)


@runs_here
@given(depthwise_convolutions(), cpus, st.integers(0, 7), seeds)
@examples(14)
def test_a_depthwise_convolution_of_codes_is_the_plain_integer_sum(
    kernel: IntegerDepthwiseKernel, cpu: Cpu, choice: int, seed: int
) -> None:
    check(kernel, cpu, choice, seed)


def check(kernel: IntegerConvolution, cpu: Cpu, choice: int, seed: int) -> None:
    """Random codes, scales and biases; every target must hold exactly what it should."""
    rng = np.random.default_rng(seed)
    end, channels = kernel.epilogue, kernel.target.channels
    x = rng.integers(0, kernel.source.form.highest + 1, size=kernel.source.shape)
    low, high = weight_limits(weight_bits(kernel))
    weights = rng.integers(low, high + 1, size=weight_shape(kernel)).astype(np.int8)
    scale, bias = rng.uniform(1e-4, 1e-3, channels).astype(F), rng.normal(size=channels).astype(F)
    residual = None
    if end.residual is not None:
        residual = (
            rng.normal(size=end.shape).astype(F)
            if end.residual.form == REAL
            else rng.integers(0, 256, size=end.shape)
        )
    results = run(kernel, cpu, choice, x, weights, scale, bias, residual)

    expected = sums(kernel, x, weights).astype(F) * scale[:, None, None] + bias[:, None, None]
    if residual is not None and end.residual is not None:
        if end.residual.form != REAL:
            residual = (residual - end.residual.form.zero).astype(F) * F(RESIDUAL_STEP)
        expected = expected + residual
    expected = activated(end.activation, expected)
    np.testing.assert_array_equal(results[0], expected)
    for result, view in zip(results[1:], end.targets[1:], strict=True):
        codes = np.rint(expected * F(CodeStep.of(STEP).inverse)) + view.form.zero
        np.testing.assert_array_equal(result, np.clip(codes, 0, 255))


def run(
    kernel: IntegerConvolution,
    cpu: Cpu,
    choice: int,
    x: NDArray[np.int64],
    weights: Codes,
    scale: Array,
    bias: Array,
    residual: NDArray[np.generic] | None = None,
) -> list[Array]:
    """What the kernel writes, cut into one of its tiles."""
    unit, end = UNITS[cpu], kernel.epilogue
    tiles = kernel.candidate_tiles(unit, 8)
    tile = tiles[choice % len(tiles)]
    steps = tuple(None if view.form == REAL else CodeStep.of(STEP) for view in end.targets)
    values = EpilogueValues(steps, scale, bias, RESIDUAL_STEP)
    constants = {
        "weights": kernel.pack(weights, unit, tile),  # type: ignore[arg-type]
        "constants": end.pack(values, kernel.padded_channels(unit), kernel.places(unit)),
    }
    maps = {"source": (kernel.source, x), "residual": (end.residual, residual)}
    maps = {name: pair for name, pair in maps.items() if pair[1] is not None}
    maps |= {f"target{i}": (view, None) for i, view in enumerate(end.targets)}
    return run_kernel(kernel, cpu, maps, constants, tile)  # type: ignore[arg-type]


def sums(kernel: IntegerConvolution, x: NDArray[np.int64], weights: Codes) -> NDArray[np.int64]:
    """The integer sums, whole numbers below 2 ** 53."""
    real = oracle.convolve(
        (x - kernel.source.form.zero).astype(float),
        weights.astype(float),
        np.zeros(len(weights)),
        kernel.stride,
        kernel.padding,
        kernel.dilation,
        num_groups(kernel),
    )
    return real.astype(np.int64)


def num_groups(kernel: IntegerConvolution) -> int:
    whole = isinstance(kernel, IntegerDepthwiseKernel)
    return kernel.source.channels if whole else kernel.groups  # type: ignore[union-attr]


def weight_shape(kernel: IntegerConvolution) -> tuple[int, ...]:
    channels = kernel.source.channels // num_groups(kernel)
    return (kernel.target.channels, channels, *kernel.kernel_size)


def weight_bits(kernel: IntegerConvolution) -> int:
    return kernel.weight_bits if isinstance(kernel, IntegerConvKernel) else 8


# Extreme codes


def integer_conv(
    ins: int,
    outs: int,
    size: int,
    kernel: int = 3,
    bits: int = 8,
    form: Form = UNSIGNED,
    pixel_stride: int = 0,
) -> IntegerConvKernel:
    """A convolution that keeps the map's size and writes numbers."""
    pad = kernel // 2
    source = View(ins, size, size, pad, pixel_stride, form=form)
    end = Epilogue((View(outs, size, size),), scaled=True)
    return IntegerConvKernel(source, end, (kernel, kernel), padding=(pad, pad), weight_bits=bits)


def integer_depthwise(channels: int, size: int, kernel: int = 3) -> IntegerDepthwiseKernel:
    conv = integer_conv(channels, channels, size, kernel)
    return IntegerDepthwiseKernel(
        conv.source, conv.epilogue, conv.kernel_size, padding=conv.padding
    )


@runs_here
@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize(
    "kernel",
    [
        integer_conv(40, 17, 4),
        integer_conv(40, 17, 4, form=SIGNED),
        integer_conv(40, 17, 4, bits=4),
        integer_depthwise(20, 5),
        integer_depthwise(20, 5, kernel=5),
    ],
    ids=["w8", "w8-signed", "w4", "depthwise", "depthwise-5x5"],
)
def test_no_sum_saturates(kernel: IntegerConvolution, cpu: Cpu) -> None:
    low, high = weight_limits(weight_bits(kernel))
    weights = np.full(weight_shape(kernel), low, np.int8)
    weights[1::2] = high
    x = np.full(kernel.source.shape, 255)
    one, zero = np.ones(len(weights), F), np.zeros(len(weights), F)

    (result,) = run(kernel, cpu, 0, x, weights, one, zero)

    expected = sums(kernel, x, weights)
    assert abs(expected).max() > 1 << 15
    np.testing.assert_array_equal(result, expected.astype(F))


@runs_here
@pytest.mark.parametrize("channels", [65_793, 65_794, 1 << 17])
@pytest.mark.parametrize("cpu", CPUS[:2], ids=lambda cpu: cpu.mcpu)
def test_long_sums_of_4_bit_weights_are_exact(cpu: Cpu, channels: int) -> None:
    kernel = integer_conv(channels, 3, 1, 1, bits=4)
    weights = np.full(weight_shape(kernel), -8, np.int8)
    weights[1] = 7
    x = np.full(kernel.source.shape, 255)
    one, zero = np.ones(3, F), np.zeros(3, F)

    (result,) = run(kernel, cpu, 0, x, weights, one, zero)

    np.testing.assert_array_equal(result, sums(kernel, x, weights).astype(F))
    if cpu == host_cpu() and UNITS[cpu].dot == "vpdpbusd":
        assert (kernel.dot(UNITS[cpu]) is LongVnniDot) == (channels > 65_793)


# How kernels are laid out


def test_rows_of_a_window_are_one_run_where_that_takes_fewer_steps() -> None:
    dense, strided = integer_conv(5, 8, 6), integer_conv(5, 8, 6, pixel_stride=16)
    stem = integer_conv(3, 8, 6, 7, pixel_stride=4)

    assert (dense.runs, dense.steps) == ((3, 1, 15), 4)
    assert (strided.runs, strided.steps) == ((3, 3, 5), 2)
    assert (stem.runs, stem.steps) == ((7, 1, 27), 7)
    wide = replace(dense.source, halo=2)
    assert replace(dense, source=wide, padding=(1, 2), dilation=(1, 2)).runs == (3, 3, 5)


@pytest.mark.parametrize("unit", UNITS.values(), ids=lambda unit: f"{unit.name}-{unit.dot}")
def test_4_bit_weights_take_half_the_bytes(unit: object) -> None:
    whole, half = integer_conv(64, 33, 6), integer_conv(64, 33, 6, bits=4)
    codes = np.zeros(weight_shape(whole), np.int8)
    tile = whole.default_tile(unit)  # type: ignore[arg-type]
    starts = 4 * whole.padded_channels(unit)  # type: ignore[arg-type]

    sizes = [len(k.pack(codes, unit, tile)) - starts for k in (whole, half)]  # type: ignore[arg-type]

    assert sizes[0] == 2 * sizes[1]


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3))
def test_every_tap_of_a_window_is_in_one_place_of_one_quad(
    rows: int, height: int, stride: int, dilation: int
) -> None:
    plan = row_plan(rows, height, stride, dilation)

    found = sorted(
        (m.row, tap, plan.quads[m.quad][place]) for m in plan.meetings for place, tap in m.taps
    )
    assert found == [(r, i, r * stride + i * dilation) for r in range(rows) for i in range(height)]


# What the machine code is made of

MACHINES = [
    (Cpu("znver4"), r"vpdpbusd\s.*%zmm"),
    (Cpu("alderlake"), r"vpdpbusd\s.*%ymm"),
    (Cpu("skylake-avx512"), r"vpmaddwd\s.*%zmm"),
    (Cpu("x86-64-v3"), r"vpmaddwd\s.*%ymm"),
    (Cpu("x86-64"), r"\spmaddwd\s.*%xmm"),
    (Cpu("cortex-a76", "aarch64-linux-gnu"), r"sdot\s+v\d+\.4s"),
    (Cpu("", "aarch64-linux-gnu"), r"smlal2?\s+v\d+\.4s"),
]
KERNELS = (integer_conv(64, 40, 14), integer_conv(64, 40, 14, bits=4), integer_depthwise(40, 14))


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("cpu", "instruction"), MACHINES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=["w8", "w4", "depthwise"])
def test_products_are_made_by_the_best_exact_instruction(
    kernel: IntegerConvolution, cpu: Cpu, instruction: str
) -> None:
    code = assembly(kernel, cpu)

    assert re.search(instruction, code)
    assert kernel.instruction(cpu.vector_unit) in code
    assert "maddubs" not in code, "it saturates"
    assert "TVMBackendAllocWorkspace" not in code, "accumulators must not be on the heap"


@pytest.mark.parametrize("mcpu", ["emeraldrapids", "znver4"])
@pytest.mark.parametrize("kernel", KERNELS, ids=["w8", "w4", "depthwise"])
def test_the_accumulators_stay_in_registers(kernel: IntegerConvolution, mcpu: str) -> None:
    assert spills(assembly(kernel, Cpu(mcpu))) == 0
