"""CPUs: the vector unit follows the instruction sets, and nothing is silently generic."""

from dataclasses import replace

import pytest

from latency_models.devices.cpu import (
    AVX2,
    AVX512,
    GENERIC,
    NEON,
    Cpu,
    VectorUnit,
    host_cpu,
    host_features,
)
from latency_models.devices.host import host_instruction_sets
from search_spaces.graphs.errors import UserError

ARM = "aarch64-linux-gnu"


@pytest.mark.parametrize(
    ("cpu", "unit"),
    [
        (Cpu("emeraldrapids"), replace(AVX512, dot="vpdpbusd", popcount=True)),
        (Cpu("znver5"), replace(AVX512, dot="vpdpbusd", popcount=True)),
        (Cpu("cascadelake"), replace(AVX512, dot="vpdpbusd")),
        (Cpu("skylake-avx512"), replace(AVX512, dot="pmaddwd")),
        (Cpu("alderlake"), replace(AVX2, dot="vpdpbusd")),
        (Cpu("x86-64-v3"), replace(AVX2, dot="pmaddwd")),
        (Cpu("x86-64-v2"), replace(GENERIC, dot="pmaddwd")),
        (Cpu("cortex-a76", ARM), replace(NEON, dot="sdot")),
        (Cpu("cortex-a72", ARM), NEON),
        (Cpu("generic-rv64", "riscv64-linux-gnu"), GENERIC),
    ],
    ids=str,
)
def test_the_vector_unit_is_the_best_of_the_cpu(cpu: Cpu, unit: VectorUnit) -> None:
    assert cpu.vector_unit == unit


def test_this_machine_is_named_exactly() -> None:
    assert host_cpu().mcpu not in ("", "native", "generic")
    assert host_cpu().features
    assert host_cpu().architecture in host_cpu().platform


def test_this_machine_offers_what_its_kernel_reports() -> None:
    assert host_instruction_sets() <= host_features()


@pytest.mark.parametrize("mcpu", ["native", "emeraldrapid"])
def test_a_cpu_that_would_become_generic_is_refused(mcpu: str) -> None:
    with pytest.raises(UserError, match=mcpu):
        assert Cpu(mcpu).target
