"""Network kernels: what a device runs, one after another, for one inference of a graph.

With TVM these are the kernels that are compiled; with ONNX Runtime, which fuses as it likes, each
node as a small network (see ``onnx_kernels``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from latency_models.compiler.plan import Tile, plan_kernels
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.kernels.kernel import Kernel, TiledKernel
from latency_models.onnx.kernels import OnnxKernel, layout_changes, onnx_kernels
from search_spaces.graphs.graph import Graph


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """A kernel of ours, with the plain numbers that it is called with."""

    kernel: Kernel
    numbers: tuple[int, ...] = ()
    _hash: int = field(init=False, compare=False, repr=False)  # it is looked up several times

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.kernel, self.numbers)))

    def __hash__(self) -> int:
        return self._hash


AnyKernel = CompiledKernel | OnnxKernel


@dataclass(frozen=True, slots=True)
class KernelUse:
    """One kernel where a network runs it.

    Attributes:
        node: The graph's node that it computes; "input" for the change of layout.
        place: What stands beside it, where that changes what it takes; "" where nothing does.
    """

    node: str
    kernel: AnyKernel
    place: str = ""


def network_kernels(graph: Graph, runtime: Runtime, unit: VectorUnit) -> tuple[KernelUse, ...]:
    """Returns the kernels of ``graph`` in the order in which they run.

    Args:
        unit: The vector unit that TVM compiles for.

    Raises:
        UnsupportedOperatorError: If the runtime has no kernel for a node.
        UserError: If an integer sum could leave 32 bits.
    """
    return KERNELS[runtime](graph, unit)


def compiled_kernels(graph: Graph, unit: VectorUnit) -> tuple[KernelUse, ...]:
    return tuple(
        KernelUse(planned.node, CompiledKernel(planned.kernel, planned.numbers))
        for planned in plan_kernels(graph, unit).kernels
    )


@lru_cache(maxsize=1 << 16)
def default_tile(kernel: TiledKernel[Any], unit: VectorUnit) -> Tile:
    """Returns the tile that a kernel is compiled with, unless tiles are tuned."""
    tile: Tile = kernel.default_tile(unit)
    return tile


def cut_kernels(graph: Graph, unit: VectorUnit) -> tuple[KernelUse, ...]:
    places = layout_changes(graph)
    return tuple(
        KernelUse(node, kernel, places.get(node, "")) for node, kernel in onnx_kernels(graph)
    )


KERNELS: Mapping[Runtime, Callable[[Graph, VectorUnit], tuple[KernelUse, ...]]] = {
    "tvm": compiled_kernels,
    "onnxruntime": cut_kernels,
}
