"""Plans: every kernel that a network is planned as, and the numbers that stand for it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

import numpy as np

from benchmarks.numbers.exported import seeded
from benchmarks.numbers.figures import Figure, digest
from benchmarks.numbers.subjects import UNITS, every_network, few_networks
from latency_models.compiler.kernel_text import from_text, key_of, to_text
from latency_models.compiler.lower import LoweredNetwork, lower
from latency_models.compiler.network_kernels import (
    AnyKernel,
    CompiledKernel,
    default_tile,
    network_kernels,
)
from latency_models.compiler.plan import TiledKernel, plan_kernels
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.prediction.onnx_features import describe
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph

RUNTIMES: Sequence[Runtime] = get_args(Runtime)


class Rows:
    """What is said of kernels on one vector unit, each once."""

    def __init__(self, unit: VectorUnit) -> None:
        self.unit = unit
        self.known: dict[AnyKernel, str] = {}

    def of(self, kernel: AnyKernel) -> str:
        if kernel not in self.known:
            text = to_text(kernel)
            assert from_text(text) == kernel
            described = asdict(describe(kernel, self.unit))
            self.known[kernel] = digest([text, key_of(text), described, self.built(kernel)])
        return self.known[kernel]

    def built(self, kernel: AnyKernel) -> list[str]:
        """How a kernel of ours is cut, and what computes it."""
        if not isinstance(kernel, CompiledKernel):
            return []
        inner = kernel.kernel
        tile = default_tile(inner, self.unit) if isinstance(inner, TiledKernel) else None
        instruction = getattr(inner, "instruction", None)
        said = instruction(self.unit) if instruction else ""
        return [type(inner).__name__, str(tile), said, " ".join(inner.arguments)]


def plan_figures() -> dict[str, Figure]:
    networks = every_network()
    found: dict[str, Figure] = {}
    for unit_name, unit in UNITS.items():
        rows = Rows(unit)
        runtimes = RUNTIMES if unit_name == "avx2" else RUNTIMES[:1]  # the other has no units
        for runtime in runtimes:
            found[f"{runtime}, {unit_name}"] = {
                name: kernels_digest(graph, runtime, rows) for name, graph in networks.items()
            }
        found[f"kernels, {unit_name}"] = len(rows.known)
    return found


def kernels_digest(graph: Graph, runtime: Runtime, rows: Rows) -> Figure:
    try:
        uses = network_kernels(graph, runtime, rows.unit)
    except UserError as error:
        return str(error)
    said: list[Figure] = [[use.node, use.place, rows.of(use.kernel)] for use in uses]
    if runtime == "tvm":
        planned = plan_kernels(graph, rows.unit)
        said += [[each.node, dict(each.maps), list(each.numbers)] for each in planned.kernels]
    return [len(uses), digest(said)]


def lowering_figures() -> dict[str, Figure]:
    return {
        unit_name: {
            name: about_lowered(lower(seeded(graph), unit, lambda k, u=unit: k.default_tile(u)))  # type: ignore[misc]
            for name, graph in few_networks().items()
        }
        for unit_name, unit in UNITS.items()
    }


def about_lowered(network: LoweredNetwork) -> Figure:
    steps = [
        [
            to_text(step.kernel),
            str(step.tile),
            step.node,
            [[address.memory, address.offset] for address in step.arguments],
            list(step.numbers),
        ]
        for step in network.steps
    ]
    shape = [*network.input_shape, *network.output_shape]
    weights = digest(np.asarray(network.weights))
    return [
        len(steps),
        digest(steps),
        weights,
        len(network.weights),
        network.workspace_size,
        shape,
    ]
