"""Sparse linear layers at batch 1 against our dense kernels and ONNX Runtime, on one core.

    python -m benchmarks.archives.sparse_linear --json docs/results/sparse_linear.json

Networks of one layer, timed in turns in one process, on random weights of which a share is kept:
by 32 values (5 bits), and at one density by 256 and by any. The dense kernels read every weight.
The int8 network has its input's quantizer inside, which takes a microsecond.

``bytes`` is what a kernel reads of its weights, ``gb_s`` how fast it does, and ``read_gb_s`` how
fast one core reads as many bytes in a plain loop of vectors: where both are near, the kernel is as
fast as memory is; else it is bound by its loads. ``clock=thread`` leaves out what other programs
on the core take.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from benchmarks.interleaved import Call, interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.boards.library_file import Metadata
from latency_models.codegen.emitter import Buffer, T, Vectors, emit_function
from latency_models.compiler.build import Call as KernelCall
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import CompiledModel, build, tile_choice
from latency_models.compiler.lower import lower
from latency_models.compiler.memory import MEMORIES, Address
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Linear, Quantize
from search_spaces.graphs.precision import FP32, W8A8, Precision, Sparsity

LAYERS: Mapping[str, tuple[int, int]] = {  # inputs, outputs
    "4096": (4096, 4096),
    "alexnet 1": (9216, 4096),
    "vgg 1": (25088, 4096),
    "classifier": (4096, 1000),
}
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5)
BITS = 5
OTHER_BITS, AT = (8, 32), 0.1  # other kinds of values, of the first layer, at one density
SUMS = 8  # vectors that the plain loop adds to in turns
CLOCKS: Mapping[str, Callable[[], float]] = {"wall": perf_counter, "thread": thread_time}


@dataclass(frozen=True, slots=True)
class Row:
    """One layer in one form; milliseconds are medians.

    Attributes:
        read_ms: What reading so many bytes takes.
        vs_fp32, vs_int8, vs_ort: How many times as long those take.
    """

    layer: str
    form: str
    density: float
    ms: float
    spread: float
    bytes: int
    gb_s: float
    read_gb_s: float
    read_ms: float
    vs_fp32: float = 1.0
    vs_int8: float = 1.0
    vs_ort: float = 1.0


def network(
    inputs: int, outputs: int, sparsity: Sparsity | None = None, precision: Precision = FP32
) -> Model:
    """One linear layer with random weights."""
    net = GraphBuilder((inputs, 1, 1))
    x = net.input if precision == FP32 else net.add("codes", Quantize(8, signed=True), net.input)
    net.add("layer", Linear(outputs, precision=precision, sparsity=sparsity), x)
    return random_model(net.graph(), np.random.default_rng(0))


def compiled_call(model: Model, cpu: Cpu) -> tuple[Call, int]:
    """Returns a call of our kernels, and the bytes of their weights."""
    lowered = lower(model, cpu.vector_unit, tile_choice(cpu, tuned=False))
    metadata = Metadata.of(lowered.input_shape, lowered.output_shape, cpu)
    compiled = CompiledModel(build(lowered, cpu), metadata)
    return compiled.bound_call(image(model)), lowered.weights.nbytes


def ort_call(model: Model) -> Call:
    return bound_call(open_session(onnx_model(model).SerializeToString()), image(model)[None])


def image(model: Model) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=model.graph.input_shape).astype(np.float32)


def read_call(size: int, cpu: Cpu) -> Call:
    """Returns a call that adds up so many bytes, whole cache lines of them."""
    v = Vectors(cpu.vector_unit)
    step = SUMS * v.lanes

    def body(memory: Buffer, result: Buffer) -> None:
        sums = v.registers(SUMS)
        for register in sums:
            v.put(register, v.constant(0))
        with T.serial(max(1, size // (4 * step))) as i:
            for index, register in enumerate(sums):
                v.put(register, v.get(register) + v.load(memory, i * step + index * v.lanes))
        for index, register in enumerate(sums):
            T.buffer_store(result, v.get(register), [v.ramp(index * v.lanes)])

    function = emit_function(("memory", "result"), body)
    one, numbers = np.zeros(1, np.float32), np.ones(size // 4 + step, np.float32)
    result = np.zeros(4 * step, np.uint8)
    memories: tuple[NDArray[Any], ...] = (one, numbers.view(np.uint8), result, one)
    shapes = {name: memory.shape for name, memory in zip(MEMORIES, memories, strict=True)}
    call = KernelCall("kernel", (Address("weights", 0), Address("workspace", 0)))
    module = kernel_module({"kernel": function}, {"run": [call]}, shapes)
    run = compile_kernels(module, cpu.target)["run"]
    tensors = [tvm.runtime.tensor(memory) for memory in memories]
    return lambda: run(*tensors)


def rows_of(layer: str, cpu: Cpu, rounds: int, clock: Callable[[], float]) -> list[Row]:
    """Times one layer in all its forms, in turns."""
    inputs, outputs = LAYERS[layer]
    forms = [(density, BITS) for density in DENSITIES]
    forms += [(AT, bits) for bits in OTHER_BITS if layer == next(iter(LAYERS))]
    dense = network(inputs, outputs)
    ours = {
        ("fp32", 1.0): compiled_call(dense, cpu),
        ("int8", 1.0): compiled_call(network(inputs, outputs, precision=W8A8), cpu),
    }
    ort = ort_call(dense)
    del dense
    for density, bits in forms:
        model = network(inputs, outputs, Sparsity(density, bits))
        ours[f"sparse, {bits} bits", density] = compiled_call(model, cpu)
    reads = [read_call(size, cpu) for _, size in ours.values()]
    calls = [*(call for call, _ in ours.values()), ort, *reads]
    ms, spreads = interleaved_ms(calls, rounds=rounds, round_ms=20.0, clock=clock)
    count = len(ours)
    rows = [
        Row(
            *(layer, form, density, time, spread, size),
            *(size / time / 1e6, size / read / 1e6, read),
        )
        for ((form, density), (_, size)), time, spread, read in zip(
            ours.items(), ms, spreads, ms[count + 1 :], strict=False
        )
    ]
    size = 4 * inputs * outputs
    read = ms[count + 1]
    rows.insert(
        2,
        Row(
            *(layer, "fp32, ONNX Runtime", 1.0, ms[count], spreads[count], size),
            *(size / ms[count] / 1e6, size / read / 1e6, read),
        ),
    )
    fp32, int8, theirs = (row.ms for row in rows[:3])
    return [
        replace(row, vs_fp32=fp32 / row.ms, vs_int8=int8 / row.ms, vs_ort=theirs / row.ms)
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", default=",".join(LAYERS), help="Of the table, by commas.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    layers = given.layers.split(",")
    if unknown := [layer for layer in layers if layer not in LAYERS]:
        parser.error(f"unknown layer {unknown[0]!r}; known layers: {', '.join(LAYERS)}")
    cpu, rows = host_cpu(), []
    for layer in layers:
        found = rows_of(layer, cpu, given.rounds, CLOCKS[given.clock])
        print_table(f"{layer}: {LAYERS[layer]} on {cpu.mcpu}", [asdict(row) for row in found])
        rows += found
    first = {row.form: row for row in rows if row.layer == "4096" and row.density in (AT, 1)}
    wanted: dict[str, Any] = {}
    if f"sparse, {BITS} bits" in first:
        row = first[f"sparse, {BITS} bits"]
        wanted = {
            "wanted": "4096 x 4096 at 10 %: 3 times our dense fp32, 1.5 times our dense int8",
            **{"vs_fp32": row.vs_fp32, "vs_int8": row.vs_int8},
            "met": row.vs_fp32 >= 3 and row.vs_int8 >= 1.5,
        }
        print(wanted)
    write_json(
        given.json, [asdict(row) for row in rows], {"cpu": cpu.mcpu, "clock": given.clock} | wanted
    )


if __name__ == "__main__":
    main()
