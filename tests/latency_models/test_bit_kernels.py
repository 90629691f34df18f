"""Kernels on bit planes and on binary weights: counts are exact, on every instruction set."""

import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.kernels.bit_conv import BitConvKernel
from latency_models.kernels.cpu import Cpu, host_cpu
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.sign_conv import SignConvKernel
from latency_models.kernels.view import REAL, Form, View
from search_spaces.operators import ACTIVATIONS, window_size
from tests.latency_models.assembly import assembly
from tests.latency_models.kernel_cases import CASES, Case, run_case
from tests.latency_models.kernel_strategies import CPUS, UNITS, cpus, examples, seeds
from tests.latency_models.kernel_targets import PAIRS, SIGNED, SIGNED_PAIRS, SIGNS

runs_here = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
BIT_CASES = [name for name, case in CASES.items() if case.kind in (BitConvKernel, SignConvKernel)]
# Of a map, with the bits of the weights that go with it: xnor, w1a2 and w2a2.
KINDS = [(SIGNS, 1), (PAIRS, 1), (SIGNED_PAIRS, 1), (PAIRS, 2), (SIGNED_PAIRS, 2)]


@runs_here
@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", BIT_CASES)
def test_a_kernel_of_bits_fills_all_its_targets_exactly(name: str, cpu: Cpu) -> None:
    run_case(CASES[name], cpu)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Channels that fill no words, groups that do, odd maps, strides, paddings, residuals."""
    form, bits = draw(st.sampled_from(KINDS))
    groups = draw(st.sampled_from((1, 1, 1, 2)))
    ins = draw(st.integers(1, 100)) if groups == 1 else 32 * groups * draw(st.integers(1, 2))
    # Each group's outputs begin where packed results can be stored.
    outs = draw(st.integers(1, 50)) if groups == 1 else 16 * groups * draw(st.integers(1, 2))
    side = draw(st.sampled_from((1, 2, 3, 5)))
    stride = draw(st.sampled_from(((1, 1), (2, 2), (1, 2))))
    padding = draw(st.integers(0, 2))
    size = (draw(st.integers(side, side + 7)), draw(st.integers(side, side + 7)))
    return Case(
        BitConvKernel,
        form,
        bits,
        (ins, outs),
        size,
        (side, side),
        stride,
        (padding, padding),
        groups,
        draw(st.sampled_from(ACTIVATIONS)),
        draw(st.sampled_from((None, REAL, SIGNED))),
        factor=draw(st.booleans()),
    )


@runs_here
@given(cases(), cpus, st.integers(0, 7), seeds)
@examples(32)
def test_counted_ones_are_the_plain_integer_sum(
    case: Case, cpu: Cpu, choice: int, seed: int
) -> None:
    tiles = case.kernel().candidate_tiles(UNITS[cpu], 8)
    run_case(case, cpu, tiles[choice % len(tiles)], seed)


class Extreme(Case):
    """Weights that are all the least or all the largest, where counts are largest."""

    def weights(self, rng: np.random.Generator) -> np.ndarray:
        drawn = super().weights(rng)
        return np.full_like(drawn, drawn.min() if rng.random() < 0.5 else drawn.max())


@runs_here
@pytest.mark.parametrize(("form", "bits"), KINDS, ids=str)
@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.mcpu)
def test_long_sums_of_equal_weights_do_not_overflow(form: Form, bits: int, cpu: Cpu) -> None:
    # Counts in bytes hold 31 words of ones at most: 3 x 3 x 416 channels are 117 words.
    run_case(Extreme(BitConvKernel, form, bits, (416, 17), (4, 5), residual=REAL), cpu)


def bit_kernel(form: Form, bits: int) -> BitConvKernel:
    source, target = View(128, 14, 14, 1, form=form), View(64, *window_size(
        (14, 14), (3, 3), (1, 1), (1, 1), (1, 1)
    ))  # fmt: skip
    end = Epilogue((target,), scaled=True)
    return BitConvKernel(source, end, (3, 3), (1, 1), (1, 1), (1, 1), 1, bits)


@pytest.mark.parametrize(("form", "bits"), KINDS, ids=str)
def test_ones_are_counted_by_the_instruction_where_there_is_one(form: Form, bits: int) -> None:
    kernel = bit_kernel(form, bits)
    for cpu in (host_cpu(), Cpu("icelake-server"), Cpu("x86-64-v3")):
        if platform.machine() != "x86_64":
            continue
        has_it = cpu.vector_unit.popcount
        assert ("vpopcntd" in assembly(kernel, cpu)) == has_it, cpu
        assert (kernel.instruction(cpu.vector_unit) == "vpopcntd") == has_it
    arm = Cpu("cortex-a76", "aarch64-linux-gnu")
    assert "\tcnt\t" in assembly(kernel, arm)
