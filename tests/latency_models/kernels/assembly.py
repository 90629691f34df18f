"""The machine code of one kernel, as text."""

from typing import Any

from latency_models.compiler.build import Call, compile_kernels, kernel_module
from latency_models.compiler.memory import MEMORIES, Address
from latency_models.devices.cpu import Cpu
from latency_models.kernels.kernel import UntiledKernel


def assembly(kernel: Any, cpu: Cpu) -> str:  # noqa: ANN401  any kernel
    unit = cpu.vector_unit
    tiles = () if isinstance(kernel, UntiledKernel) else (kernel.default_tile(unit),)
    function = kernel.function(unit, *tiles)
    call = Call("kernel", tuple(Address("workspace", 0) for _ in kernel.arguments))
    shapes = dict.fromkeys(MEMORIES, (1,))
    module = kernel_module({"kernel": function}, {"run": [call]}, shapes)
    return str(compile_kernels(module, cpu.target).inspect_source("asm"))


def spills(code: str) -> int:
    """Whole vector registers of AVX512 that go to the stack and back."""
    return sum("%zmm" in line and "(%rsp)" in line for line in code.splitlines())
