"""Compiled: the code of kernels as TVM is given it, and what compiled networks compute."""

from typing import Any

from benchmarks.numbers.exported import seeded, seeded_input
from benchmarks.numbers.figures import Figure, digest
from benchmarks.numbers.subjects import UNITS, blocks, few_networks
from latency_models.compiler.library import compile_model
from latency_models.compiler.plan import TiledKernel, plan_kernels
from latency_models.devices.cpu import Cpu, VectorUnit, host_features
from search_spaces.graphs.graph import Graph

CPUS = (Cpu("x86-64-v2"), Cpu("x86-64-v3"))


def code_figures() -> dict[str, Figure]:
    """The TIR text of every kernel of a few networks, on every vector unit."""
    chosen = ("plain fp32", "depthwise_separable w8a8", "plain w4a4", "fire w2a2", "plain xnor_k")
    networks = {name: blocks()[name] for name in chosen}
    return {
        unit_name: {name: texts(graph, unit) for name, graph in networks.items()}
        for unit_name, unit in UNITS.items()
    }


def texts(graph: Graph, unit: VectorUnit) -> list[str]:
    kernels = dict.fromkeys(planned.kernel for planned in plan_kernels(graph, unit).kernels)
    return [f"{type(kernel).__name__} {digest(text(kernel, unit))}" for kernel in kernels]


def text(kernel: Any, unit: VectorUnit) -> str:  # noqa: ANN401  (a kernel of any kind)
    if isinstance(kernel, TiledKernel):
        function = kernel.function(unit, kernel.default_tile(unit))  # type: ignore[arg-type]
    else:
        function = kernel.function(unit)
    return str(function.script())


def output_figures() -> dict[str, Figure]:
    """Outputs and machine code on processors of a fixed kind, as far as this machine has them."""
    offered = host_features()
    return {
        cpu.mcpu: {name: outputs(graph, cpu) for name, graph in few_networks().items()}
        for cpu in CPUS
        if cpu.features <= offered
    }


def outputs(graph: Graph, cpu: Cpu) -> Figure:
    compiled = compile_model(seeded(graph), cpu)
    output = compiled.run(seeded_input(graph))
    return {"output": digest(output), "code": digest(compiled.assembly())}
