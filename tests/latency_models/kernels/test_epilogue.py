"""Epilogues: every form that a result is written in follows from the result, on every machine."""

import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.devices.cpu import Cpu
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.epilogue import CodeStep, Epilogue, EpilogueValues, SignNorm
from latency_models.kernels.plain import PointwiseKernel
from latency_models.kernels.view import REAL, Form, View
from tests.integer_oracle import activated
from tests.latency_models.kernels.kernel_cases import CASES, run_case
from tests.latency_models.kernels.kernel_runs import Array, run_kernel
from tests.latency_models.kernels.kernel_strategies import activations, cpus, examples, seeds
from tests.latency_models.kernels.kernel_targets import (
    NIBBLES,
    PAIRS,
    SIGNED,
    SIGNED_NIBBLES,
    SIGNED_PAIRS,
    SIGNS,
    UNSIGNED,
)
from tests.latency_models.parts.processors import REAL_CPUS, UNITS

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
F = np.float32
REAL_CASES = [name for name, case in CASES.items() if case.kind in (Conv2dKernel, DepthwiseKernel)]
FORMS = (REAL, UNSIGNED, SIGNED, NIBBLES, SIGNED_NIBBLES, PAIRS, SIGNED_PAIRS, SIGNS)


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", REAL_CASES)
def test_a_kernel_of_real_numbers_fills_all_its_targets(name: str, cpu: Cpu) -> None:
    run_case(CASES[name], cpu)


def copied(
    x: Array, cpu: Cpu, form: Form, values: CodeStep | SignNorm | None, activation: str = "none"
) -> Array:
    """What a copy of a real map to a target of one form writes."""
    channels, height, width = x.shape
    source, target = View(channels, height, width), View(channels, height, width, 1, form=form)
    end = Epilogue((target,), activation)  # type: ignore[arg-type]
    kernel, unit = PointwiseKernel((source,), end), UNITS[cpu]
    packed = end.pack(EpilogueValues((values,)), kernel.padded_channels(unit), kernel.places(unit))
    maps = {"source0": (source, x), "target0": (target, None)}
    constants = {"constants": packed} if end.has_constants else {}
    (result,) = run_kernel(kernel, cpu, maps, constants)
    return result


@given(st.sampled_from(FORMS), activations, cpus, st.integers(1, 70), seeds)
@examples(24)
def test_every_form_is_what_follows_from_the_result(
    form: Form, activation: str, cpu: Cpu, channels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=(channels, 2, 3))).astype(F)
    result = activated(activation, x)  # type: ignore[arg-type]
    gain, bias = rng.normal(size=(2, channels)).astype(F)
    step = 6 / form.highest if form != REAL else 1.0
    expected, values = result, None
    if form == SIGNS:
        values = SignNorm(gain, bias)
        expected = result * gain[:, None, None] + bias[:, None, None] >= 0
    elif form != REAL:
        values = CodeStep.of(step)  # type: ignore[assignment]
        codes = np.rint(result * F(1 / np.float64(step))) + form.zero
        expected = np.clip(codes, 0, form.highest)

    np.testing.assert_array_equal(copied(x, cpu, form, values, activation), expected)


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
def test_halves_are_rounded_to_even_codes_and_large_numbers_clipped(cpu: Cpu) -> None:
    numbers = [-1e30, -129, -128.5, -127.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 127.5, 1e30]
    x = np.array(numbers, F)[:, None, None]

    codes = copied(x, cpu, SIGNED, CodeStep.of(1)).ravel().astype(int) - 128

    wanted = [-128, -128, -128, -128, -2, -2, 0, 0, 2, 2, 126, 127, 127]
    np.testing.assert_array_equal(codes, wanted)


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
def test_zero_and_minus_zero_have_a_positive_sign(cpu: Cpu) -> None:
    x = np.array([0.0, -0.0, 1e-40, -1e-30], F)[:, None, None]
    norm = SignNorm(np.ones(4, F), np.zeros(4, F))

    np.testing.assert_array_equal(copied(x, cpu, SIGNS, norm).ravel(), [1, 1, 1, 0])


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
def test_products_and_sums_are_rounded_one_by_one(cpu: Cpu) -> None:
    """Joined into one instruction, this product and sum would give another sign."""
    gain, x = F(1 + 2**-12), F(1 + 2**-12)
    bias = -F(gain * x)  # the exact product is larger by 2 ** -24
    below = np.nextafter(bias, F(-4))  # its sum with the product rounds to less than nothing
    column = np.full((16, 1, 1), x, F)

    rounded = copied(column, cpu, SIGNS, SignNorm(np.full(16, gain), np.full(16, bias)))
    less = copied(column, cpu, SIGNS, SignNorm(np.full(16, -gain), np.full(16, -bias)))
    beyond = copied(column, cpu, SIGNS, SignNorm(np.full(16, gain), np.full(16, below)))

    assert rounded.all()
    assert less.all(), "the exact sum is below zero, the rounded one is zero"
    assert not beyond.any()
