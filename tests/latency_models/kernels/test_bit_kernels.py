"""Convolutions of bit planes: every target is exact, on every instruction set."""

import platform
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.codegen.bit_counting import (
    BYTE_ADDS,
    ByteCounter,
    CarryCounter,
    LaneCounter,
    counter_kind,
)
from latency_models.devices.cpu import AVX2, AVX512, GENERIC, NEON, Cpu, VectorUnit
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.operators import Shape
from tests.latency_models.kernels.assembly import assembly, spills
from tests.latency_models.kernels.bit_runs import (
    Numbers,
    check,
    random_numbers,
    random_weights,
    run,
    sums,
    weight_shape,
)
from tests.latency_models.kernels.kernel_cases import CASES, run_case
from tests.latency_models.kernels.kernel_strategies import (
    activations,
    cpus,
    examples,
    geometries,
    seeds,
    views,
)
from tests.latency_models.kernels.kernel_targets import (
    PAIRS,
    SIGNED,
    SIGNED_PAIRS,
    SIGNS,
    UNSIGNED,
)
from tests.latency_models.parts.processors import CPUS, UNITS

runs_here = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
BIT_CASES = [name for name, case in CASES.items() if case.kind is BitConvKernel]
# Map and weights of each precision.
KINDS = {
    "xnor": (SIGNS, 1),
    "w1a2": (PAIRS, 1),
    "w1a2-signed": (SIGNED_PAIRS, 1),
    "w2a2": (PAIRS, 2),
    "w2a2-signed": (SIGNED_PAIRS, 2),
}
kinds = st.sampled_from(tuple(KINDS.values()))


def bit_conv(
    ins: int,
    outs: int,
    size: int,
    kernel: int = 3,
    kind: str = "xnor",
    targets: tuple[Form, ...] = (REAL,),
    groups: int = 1,
) -> BitConvKernel:
    """A convolution that keeps the map's size."""
    form, bits = KINDS[kind]
    pad = kernel // 2
    end = Epilogue(tuple(View(outs, size, size, form=form) for form in targets), scaled=True)
    source = View(ins, size, size, pad, form=form)
    geometry = ((kernel, kernel), (1, 1), (pad, pad), (1, 1), groups)
    return BitConvKernel(source, end, *geometry, bits)


@pytest.mark.sweep(4)
@runs_here
@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", BIT_CASES)
def test_a_bit_kernel_fills_all_its_targets_exactly(name: str, cpu: Cpu) -> None:
    run_case(CASES[name], cpu)


# Random shapes


@st.composite
def packed_views(draw: st.DrawFn, shape: Shape, form: Form, least_halo: int = 0) -> View:
    """A packed view, perhaps among other channels."""
    halo = draw(st.integers(least_halo, least_halo + 1))
    words = -(-shape[0] // 32) + draw(st.integers(0, 2))
    return View(*shape, halo, form.bits * words, form=form)


@st.composite
def epilogues(draw: st.DrawFn, shape: Shape, packable: bool) -> Epilogue:
    """Any mix of targets; often such as need no more than thresholds."""
    packed = st.sampled_from((SIGNS, PAIRS, SIGNED_PAIRS))
    forms = draw(st.lists(packed, min_size=1, max_size=2)) if packable else []
    if not packable or draw(st.booleans()):
        forms.append(draw(st.sampled_from((REAL, SIGNED, UNSIGNED))))
    targets = tuple(
        draw(packed_views(shape, form) if form.kind == "planes" else views(shape, form=form))
        for form in forms
    )
    residual = factor = None
    if draw(st.integers(0, 2)) == 0:
        residual = draw(views(shape, form=draw(st.sampled_from((REAL, SIGNED)))))
    if draw(st.integers(0, 3)) == 0:
        factor = View(1, *shape[1:], draw(st.integers(0, 1)))
    return Epilogue(targets, draw(activations), residual, True, factor)


@st.composite
def convolutions(draw: st.DrawFn) -> BitConvKernel:
    form, bits = draw(kinds)
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    ins = draw(st.integers(1, 140)) if groups == 1 else groups * 32 * draw(st.integers(1, 2))
    outs = groups * draw(st.integers(1, 40))
    packable = groups == 1 or outs // groups % 16 == 0
    window = draw(geometries(3, 5))
    source = draw(packed_views((ins, *window.size), form, max(window.padding)))
    end = draw(epilogues((outs, *window.out_size), packable))
    return BitConvKernel(source, end, *window.fields, groups, bits)


@runs_here
@given(convolutions(), cpus, st.integers(0, 7), seeds)
@examples(40)
def test_a_convolution_of_bits_is_the_plain_integer_sum(
    kernel: BitConvKernel, cpu: Cpu, choice: int, seed: int
) -> None:
    check(kernel, cpu, random_numbers(kernel, np.random.default_rng(seed)), choice)


@pytest.mark.sweep(4)
@runs_here
@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize(
    "activation", ["none", "hardsigmoid", "hardswish", "leaky_relu_0.1", "sigmoid", "gelu"]
)
def test_bits_from_thresholds_are_those_of_the_results(activation: Activation, cpu: Cpu) -> None:
    both = bit_conv(40, 50, 4, kind="w1a2", targets=(REAL, SIGNS, SIGNED_PAIRS, PAIRS))
    both = replace(both, epilogue=replace(both.epilogue, activation=activation))
    alone = replace(both, epilogue=replace(both.epilogue, targets=both.epilogue.targets[1:]))
    numbers = random_numbers(both, np.random.default_rng(0))
    values = replace(numbers.values, targets=numbers.values.targets[1:])

    assert not both.epilogue.by_threshold
    assert alone.epilogue.by_threshold == (activation not in ("hardswish", "sigmoid", "gelu"))
    _, *expected = run(both, cpu, numbers)
    for bits, wanted in zip(
        run(alone, cpu, replace(numbers, values=values)), expected, strict=True
    ):
        np.testing.assert_array_equal(bits, wanted)
        assert len(np.unique(bits)) > 1


# Long sums, and extreme ones


def plain_numbers(kernel: BitConvKernel, codes: np.ndarray, weights: np.ndarray) -> Numbers:
    """Numbers by which results are the sums themselves."""
    numbers = random_numbers(kernel, np.random.default_rng(0))
    one = np.ones(len(weights), np.float32)
    return Numbers(codes, weights, replace(numbers.values, scale=one, bias=0 * one))


@pytest.mark.sweep(3)
@runs_here
@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_sums_are_exact(kind: str, cpu: Cpu) -> None:
    kernel = bit_conv(900, 18, 2, kernel=1, kind=kind)
    codes = np.zeros(kernel.source.shape, np.int64)
    codes[:, 0] = kernel.source.form.highest
    weights = np.full(weight_shape(kernel), -1 if kernel.weight_bits == 1 else -2, np.int8)
    weights[::2] = 1

    (result,) = run(kernel, cpu, plain_numbers(kernel, codes, weights))

    np.testing.assert_array_equal(result, sums(kernel, codes, weights))
    assert abs(result).max() >= 900


# Around what is added together, and what bytes can hold.
CHANNELS = [32 * words for words in (1, 3, 5, 9, 30, 31, 32, 33, 62, 123, 125, 130)]


@runs_here
@pytest.mark.parametrize("cpu", CPUS[1:3], ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("channels", CHANNELS)
def test_sums_of_any_length_are_exact(channels: int, cpu: Cpu) -> None:
    kernel = bit_conv(channels, 16, 2, kernel=1)
    rng = np.random.default_rng(0)
    weights = random_weights(kernel, rng)
    weights[0] = -1
    codes = rng.integers(0, 2, size=kernel.source.shape)
    codes[:, 0, 0] = 1

    (result,) = run(kernel, cpu, plain_numbers(kernel, codes, weights))

    np.testing.assert_array_equal(result, sums(kernel, codes, weights))
    assert result[0, 0, 0] == -channels


def test_bytes_cannot_overflow_between_two_settlements() -> None:
    assert 8 * BYTE_ADDS <= 255
    assert CarryCounter.limit == CarryCounter.step * BYTE_ADDS


@pytest.mark.parametrize(
    ("unit", "words", "kind"),
    [
        (replace(AVX512, popcount=True), 1000, LaneCounter),
        (AVX512, 9, CarryCounter),
        (AVX512, 8, ByteCounter),
        (AVX2, 1000, ByteCounter),
        (NEON, 1000, ByteCounter),
        (GENERIC, 1000, ByteCounter),
    ],
)
def test_ones_are_counted_by_what_the_processor_has(
    unit: VectorUnit, words: int, kind: type
) -> None:
    assert counter_kind(unit, words) is kind


# How kernels are laid out


@pytest.mark.parametrize("unit", UNITS.values(), ids=lambda unit: f"{unit.name}-{unit.popcount}")
@pytest.mark.parametrize(("kind", "bits"), [("xnor", 1), ("w1a2", 1), ("w2a2", 2)])
def test_weights_take_as_many_bits_as_they_have(kind: str, bits: int, unit: VectorUnit) -> None:
    kernel = bit_conv(64, 32, 6, kind=kind)
    weights = random_weights(kernel, np.random.default_rng(0))

    packed = kernel.pack(weights, unit, kernel.default_tile(unit))

    assert packed.nbytes == 4 * 32 + weights.size * bits // 8


# What the machine code is made of

MACHINES = [
    (Cpu("znver4"), r"vpopcntd\s.*%zmm"),
    (Cpu("icelake-server"), r"vpopcntd\s.*%zmm"),
    (Cpu("skylake-avx512"), r"vpshufb\s.*%zmm"),
    (Cpu("x86-64-v3"), r"vpshufb\s.*%ymm"),
    (Cpu("cortex-a76", "aarch64-linux-gnu"), r"\scnt\s+v\d+\.16b"),
    (Cpu("", "aarch64-linux-gnu"), r"\scnt\s+v\d+\.16b"),
]


@pytest.mark.parametrize(("cpu", "instruction"), MACHINES, ids=str)
@pytest.mark.parametrize("kind", ["xnor", "w2a2"])
def test_ones_are_counted_by_the_best_instruction(kind: str, cpu: Cpu, instruction: str) -> None:
    kernel = bit_conv(64, 64, 14, kind=kind)

    code = assembly(kernel, cpu)

    assert re.search(instruction, code)
    assert kernel.instruction(cpu.vector_unit) in code
    assert ("vpopcnt" in code) == cpu.vector_unit.popcount
    assert "TVMBackendAllocWorkspace" not in code, "sums must not be on the heap"
    if cpu.vector_unit.popcount:
        assert spills(code) == 0


def test_words_are_added_before_they_are_counted_where_counting_is_dear() -> None:
    code = assembly(bit_conv(64, 64, 14), Cpu("skylake-avx512"))

    assert code.count("vpternlogd") > code.count("vpshufb")
