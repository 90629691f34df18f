"""CPUs: the vector unit follows the instruction sets, and nothing is silently generic."""

import pytest

from latency_models.kernels.cpu import AVX2, AVX512, GENERIC, NEON, Cpu, VectorUnit, host_cpu
from search_spaces.errors import UserError


@pytest.mark.parametrize(
    ("cpu", "unit"),
    [
        (Cpu("emeraldrapids"), AVX512),
        (Cpu("znver5"), AVX512),
        (Cpu("x86-64-v3"), AVX2),
        (Cpu("x86-64-v2"), GENERIC),
        (Cpu("cortex-a72", "aarch64-linux-gnu"), NEON),
    ],
    ids=str,
)
def test_vectors_are_as_wide_as_the_cpu_has(cpu: Cpu, unit: VectorUnit) -> None:
    assert cpu.vector_unit == unit


def test_this_machine_is_named_exactly() -> None:
    assert host_cpu().mcpu not in ("", "native", "generic")
    assert host_cpu().features


@pytest.mark.parametrize("mcpu", ["native", "emeraldrapid"])
def test_a_cpu_that_would_become_generic_is_refused(mcpu: str) -> None:
    with pytest.raises(UserError, match=mcpu):
        assert Cpu(mcpu).target
