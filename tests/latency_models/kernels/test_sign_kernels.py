"""Convolutions of real maps with signs: sums of whole numbers are exact, and no weight is stored
in more than a bit."""

import platform
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.devices.cpu import Cpu
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.epilogue import Epilogue, EpilogueValues
from latency_models.kernels.view import View
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
from tests.latency_models.parts import oracle
from tests.latency_models.parts.processors import REAL_CPUS, UNITS

runs_here = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
SIGN_CASES = [name for name, case in CASES.items() if case.kind is SignConvKernel]
F = np.float32


def sign_conv(ins: int, outs: int, size: int, kernel: int = 3) -> SignConvKernel:
    """A convolution that keeps the map's size."""
    pad = kernel // 2
    end = Epilogue((View(outs, size, size),), scaled=True)
    return SignConvKernel(View(ins, size, size, pad), end, (kernel, kernel), padding=(pad, pad))


@runs_here
@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", SIGN_CASES)
def test_a_kernel_of_signs_fills_all_its_targets(name: str, cpu: Cpu) -> None:
    run_case(CASES[name], cpu)


@st.composite
def convolutions(draw: st.DrawFn) -> SignConvKernel:
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    ins, outs = groups * draw(st.integers(1, 70)), groups * draw(st.integers(1, 40))
    window = draw(geometries(3, 8))
    source = draw(views((ins, *window.size), max(window.padding)))
    if draw(st.integers(0, 3)) == 0:
        source = View(ins, *window.size, max(window.padding), planar=True)
    shape = (outs, *window.out_size)
    residual = draw(st.none() | views(shape))
    end = Epilogue((draw(views(shape)),), draw(activations), residual, scaled=True)
    return SignConvKernel(source, end, *window.fields, groups)


@runs_here
@given(convolutions(), cpus, st.integers(0, 7), seeds)
@examples(24)
def test_a_convolution_with_signs_is_the_plain_sum(
    kernel: SignConvKernel, cpu: Cpu, choice: int, seed: int
) -> None:
    """Of whole numbers, which are exact in any order."""
    rng = np.random.default_rng(seed)
    unit, end, shape = UNITS[cpu], kernel.epilogue, kernel.target.shape
    tiles = kernel.candidate_tiles(unit, 8)
    tile = tiles[choice % len(tiles)]
    x = rng.integers(-99, 100, size=kernel.source.shape).astype(F)
    size = (shape[0], kernel.in_channels, *kernel.kernel_size)
    weights = rng.choice(np.array([-1, 1], np.int8), size=size)
    scale, bias = rng.normal(size=(2, shape[0])).astype(F)
    maps = {"source": (kernel.source, x), "target0": (kernel.target, None)}
    windows = (kernel.stride, kernel.padding, kernel.dilation, kernel.groups)
    sums = oracle.convolve(x.astype(float), weights.astype(float), np.zeros(shape[0]), *windows)
    expected = sums.astype(F) * scale[:, None, None] + bias[:, None, None]
    if end.residual is not None:
        residual = rng.normal(size=shape).astype(F)
        maps["residual"] = (end.residual, residual)
        expected = expected + residual
    values = EpilogueValues((None,), scale, bias)
    constants: dict[str, Any] = {
        "weights": kernel.pack(weights, unit, tile),
        "constants": end.pack(values, kernel.padded_channels(unit), kernel.places(unit)),
    }

    (result,) = run_kernel(kernel, cpu, maps, constants, tile)

    np.testing.assert_array_equal(result, activated(end.activation, expected))


@pytest.mark.parametrize("unit", UNITS.values(), ids=lambda unit: f"{unit.name}-{unit.dot}")
def test_signs_take_a_32nd_of_the_bytes_of_numbers(unit: object) -> None:
    kernel = sign_conv(64, 48, 6)
    weights = np.ones((48, 64, 3, 3), np.int8)

    packed = kernel.pack(weights, unit, kernel.default_tile(unit))  # type: ignore[arg-type]

    assert packed.nbytes == weights.size // 8


MACHINES = [
    (Cpu("znver4"), r"vfmadd\d+ps\s.*%zmm"),
    (Cpu("x86-64-v3"), r"vfmadd\d+ps\s.*%ymm"),
    (Cpu("x86-64"), r"mulps\s.*%xmm"),
    (Cpu("cortex-a76", "aarch64-linux-gnu"), r"fmla\s+v\d+\.4s"),
]


@pytest.mark.parametrize(("cpu", "instruction"), MACHINES, ids=str)
def test_products_are_those_of_real_numbers(cpu: Cpu, instruction: str) -> None:
    signs = sign_conv(64, 64, 14)
    real = Conv2dKernel(signs.source, Epilogue(signs.epilogue.targets), (3, 3), padding=(1, 1))

    code = assembly(signs, cpu)

    assert re.search(instruction, code)
    assert "TVMBackendAllocWorkspace" not in code, "accumulators must not be on the heap"
    assert spills(code) == 0
    assert signs.instruction(cpu.vector_unit) == real.instruction(cpu.vector_unit)
