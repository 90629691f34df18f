"""What one core of this machine can do at most: multiply-adds, byte products, counted bits.

    python -m benchmarks.peaks --json docs/results/peaks.json

Each is a loop over as many independent sums as hide how long an instruction takes, with operands
in registers, made by the same compiler as the kernels. An operation is one multiplication or one
addition; of bits, one product of two bits or one addition (a lane of 32 bits counts 64).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tvm
from numpy.typing import NDArray

from benchmarks.interleaved import Call, interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.codegen.dot import PairDot
from latency_models.codegen.emitter import Buffer, Expr, T, Vectors, emit_function
from latency_models.compiler.build import Call as KernelCall
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.memory import MEMORIES, Address
from latency_models.devices.cpu import Cpu, host_cpu

Kind = Literal["fp32", "int8", "bits"]
KINDS: tuple[Kind, ...] = ("fp32", "int8", "bits")
SUMS = 12  # independent ones: more than any instruction's latency times its throughput
LOOPS = 20_000


@dataclass(frozen=True, slots=True)
class Peak:
    """A loop that does nothing but its operations."""

    kind: Kind
    call: Call
    operations: int


def peak(kind: Kind, cpu: Cpu) -> Peak:
    """Returns the loop of one kind, compiled for this machine."""
    vectors = Vectors(cpu.vector_unit)
    step, each = STEPS[kind](vectors)
    number = "float32" if kind == "fp32" else "int32"
    size = 4 * vectors.lanes

    def body(memory: Buffer) -> None:
        def load(index: int) -> Expr:
            return T.bind(memory[T.ramp(index * size, 1, size)])

        registers = vectors.registers(SUMS, number)
        for index, register in enumerate(registers):
            vectors.put(register, T.reinterpret(f"{number}x{vectors.lanes}", load(index)))
        first, second = load(SUMS), load(SUMS + 1)
        with T.serial(LOOPS):
            for register in registers:
                vectors.put(register, step(vectors.get(register), first, second))
        for index, register in enumerate(registers):
            stored = T.reinterpret(f"uint8x{size}", vectors.get(register))
            T.buffer_store(memory, stored, [T.ramp(index * size, 1, size)])

    function = emit_function(("memory",), body, types={"memory": "uint8"})
    one, workspace = np.zeros(1, np.float32), np.zeros((SUMS + 2) * size, np.uint8)
    memories: tuple[NDArray[Any], ...] = (one, one.view(np.uint8), workspace, one)
    shapes = {name: memory.shape for name, memory in zip(MEMORIES, memories, strict=True)}
    calls = {"run": [KernelCall("kernel", (Address("workspace", 0),))]}
    run = compile_kernels(kernel_module({"kernel": function}, calls, shapes), cpu.target)["run"]
    tensors = [tvm.runtime.tensor(memory) for memory in memories]
    return Peak(kind, lambda: run(*tensors), LOOPS * SUMS * vectors.lanes * each)


Step = Callable[[Expr, Expr, Expr], Expr]


def multiply_add(vectors: Vectors) -> tuple[Step, int]:
    """A sum is its last value times something, so that nothing leaves the loop."""
    kind = f"float32x{vectors.lanes}"
    return lambda x, a, b: x * T.reinterpret(kind, a) + T.reinterpret(kind, b), 2


def byte_products(vectors: Vectors) -> tuple[Step, int]:
    """The instruction of the integer kernels, and the addition where it does not add."""
    lanes, name = vectors.lanes, vectors.unit.dot
    words, quads, pairs = f"int32x{lanes}", f"int8x{4 * lanes}", f"int16x{2 * lanes}"

    def intrinsic(name: str, *operands: Expr) -> Expr:
        return vectors.intrinsic(name, words, *operands)

    if name == "vpdpbusd":
        vnni = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        return lambda x, a, _: intrinsic(vnni, x, T.reinterpret(quads, x), a), 8
    if name == "sdot":
        sdot = "llvm.aarch64.neon.sdot"
        return lambda x, a, _: intrinsic(sdot, x, T.reinterpret(quads, x), a), 8
    if name == "pmaddwd":
        madd = PairDot.names[lanes]
        return (
            lambda x, a, _: x + intrinsic(madd, T.reinterpret(pairs, x), T.reinterpret(pairs, a)),
            4,
        )
    return lambda x, a, b: x * T.reinterpret(words, a) + T.reinterpret(words, b), 2


def counted_bits(vectors: Vectors) -> tuple[Step, int]:
    """Joining two words, counting, adding; kernels that count several words at once do more."""
    words = f"int32x{vectors.lanes}"
    return lambda x, a, _: x + T.popcount(T.bitwise_xor(x, T.reinterpret(words, a))), 64


STEPS: dict[Kind, Callable[[Vectors], tuple[Step, int]]] = {
    "fp32": multiply_add,
    "int8": byte_products,
    "bits": counted_bits,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--round-ms", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cpu = host_cpu()
    peaks = [peak(kind, cpu) for kind in KINDS]
    times, spreads = interleaved_ms(
        [each.call for each in peaks], rounds=given.rounds, round_ms=given.round_ms
    )
    rows = [
        {"kind": p.kind, "gop_s": p.operations / ms / 1e6, "spread": spread / ms}
        for p, ms, spread in zip(peaks, times, spreads, strict=True)
    ]
    unit = cpu.vector_unit
    print_table(f"peaks of one core, {cpu.mcpu} ({unit.name}, {unit.dot})", rows)
    write_json(given.json, rows, {"cpu": cpu.mcpu, "unit": unit.name, "dot": unit.dot})


if __name__ == "__main__":
    main()
