"""Processors that tests compile kernels for, and which of them this machine is.

Code for any of them can be planned, compiled and read everywhere; run it only where the machine
has the instructions.
"""

from collections.abc import Sequence

import pytest

from latency_models.devices.cpu import Cpu, host_cpu, host_features

CPUS = (host_cpu(), Cpu("skylake-avx512"), Cpu("x86-64-v3"), Cpu("x86-64"))
UNITS = {cpu: cpu.vector_unit for cpu in CPUS}


def one_per_vectors(cpus: Sequence[Cpu]) -> tuple[Cpu, ...]:
    """The first of all that have vectors of a kind: others only multiply integers otherwise."""
    found: dict[str, Cpu] = {}
    for cpu in cpus:
        found.setdefault(cpu.vector_unit.name, cpu)
    return tuple(found.values())


def missing_instructions(cpu: Cpu) -> list[str]:
    """Instruction sets that code for ``cpu`` may use and this machine does not have."""
    return sorted(cpu.features - host_features())


def skip_unless_it_runs(cpu: Cpu) -> None:
    """Skips a test that is about to run code for a processor that this machine is not."""
    if missing := missing_instructions(cpu):
        pytest.skip(f"this machine has no {', '.join(missing)}")


REAL_CPUS = one_per_vectors(CPUS)  # for kernels that multiply no integers
RUNNABLE_CPUS = tuple(cpu for cpu in CPUS if not missing_instructions(cpu))
