"""Compiled models: a whole network as one TVM library, run, timed, saved and loaded.

The library is a Relax module: ``main`` takes (1, C, H, W) and gives (1, classes), or (1, C, H, W)
where a graph ends in a map; ``metadata`` tells what the file is. The weights are its one constant.
A saved ``.so`` needs only TVM to run::

    library = tvm.runtime.load_module("network.so")
    logits = tvm.relax.VirtualMachine(library, tvm.cpu())["main"](tvm.runtime.tensor(x))
"""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import ir, relax

from latency_models.boards.board import Board
from latency_models.boards.library_file import (
    Metadata,
    check_library,
    check_runs_here,
    export_library,
    library_bytes,
    parse_metadata,
)
from latency_models.compiler.build import PIPELINE, Call, kernel_module
from latency_models.compiler.lower import LoweredNetwork, lower
from latency_models.compiler.memory import ELEMENTS, Memory
from latency_models.compiler.plan import Tile
from latency_models.devices.cpu import Cpu
from latency_models.kernels.kernel import TiledKernel
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.model import Model

Array = NDArray[np.float32]


class CompiledModel:
    """A compiled network: to be run on this machine, or saved for another."""

    def __init__(self, library: Any, metadata: Metadata) -> None:  # noqa: ANN401  tvm is untyped
        self.metadata = metadata
        self._library = library

    @cached_property
    def _machine(self) -> Any:  # noqa: ANN401
        check_runs_here("the model", self.metadata.cpu, self.metadata.features)
        return relax.VirtualMachine(self._library, tvm.cpu())

    def run(self, x: Array) -> Array:
        """Returns the output for one input (C, H, W) or (1, C, H, W): (classes,) or (C, H, W).

        Raises:
            UserError: If ``x`` has another shape, or the code is for another processor.
        """
        result = self._machine["main"](tvm.runtime.tensor(self._input(x)))
        output: Array = result.numpy()[0]
        return output

    def bound_call(self, x: Array) -> Callable[[], object]:
        """Returns a call that runs on ``x`` and blocks until the result is there."""
        machine, tensor = self._machine["main"], tvm.runtime.tensor(self._input(x))
        return lambda: machine(tensor)

    def assembly(self) -> str:
        """Returns the code of a model that was compiled here; "" where it came from a file."""
        parts: list[Any] = list(getattr(self._library, "mod", self._library).imports)
        return "".join(str(part.inspect_source("asm")) for part in parts if part.kind == "llvm")

    def save(self, path: Path) -> None:
        """Writes the library as a ``.so`` file; needs the C compiler of its platform.

        Raises:
            UserError: If it cannot be written.
        """
        export_library(self._library, path, self.metadata.cpu)

    def library_bytes(self) -> bytes:
        """Returns what ``save`` writes.

        Raises: as `save`.
        """
        return library_bytes(self._library, self.metadata.cpu)

    def _input(self, x: Array) -> Array:
        wanted = self.metadata.input_shape
        if x.shape not in (wanted, (1, *wanted)):
            raise UserError(f"the network takes an input of shape {wanted}, got {x.shape}")
        return np.ascontiguousarray(x, np.float32).reshape(1, *wanted)


def compile_model(model: Model, cpu: Cpu, *, tuned: bool = False) -> CompiledModel:
    """Returns ``model`` compiled for ``cpu``.

    Args:
        model: Weights and graph; its batch norms are folded first.
        cpu: The exact processor.
        tuned: Whether each convolution's tile is the fastest of a few that are timed here (kept
            on disk for the next time), instead of the one that a count of cycles likes best.

    Raises:
        UnsupportedOperatorError: If a node has an operator or precision without a kernel.
        UserError: If tiles are to be timed for a processor whose code this machine cannot run.
    """
    network = lower(model, cpu.vector_unit, tile_choice(cpu, tuned))
    return CompiledModel(build(network, cpu), metadata_of(network, cpu))


def metadata_of(network: LoweredNetwork, cpu: Cpu) -> Metadata:
    return Metadata.of(network.input_shape, network.output_shape, cpu)


def tile_choice(cpu: Cpu, tuned: bool) -> Callable[[TiledKernel[Any]], Tile]:
    unit = cpu.vector_unit
    if not tuned:
        return lambda kernel: kernel.default_tile(unit)
    check_runs_here("code to be timed", cpu, cpu.features)
    from latency_models.compiler.tuning import Tuner

    return Tuner(cpu).best_tile


def load_compiled(path: Path) -> CompiledModel:
    """Returns the model of a ``.so`` file that ``CompiledModel.save`` wrote.

    Raises:
        UserError: If it is no such file, of another format, or for another processor.
    """
    if not path.is_file():
        raise UserError(f"there is no compiled model {path}")
    check_library(path)
    try:
        library = tvm.runtime.load_module(str(path.resolve()))
        machine = relax.VirtualMachine(library, tvm.cpu())
        metadata = parse_metadata(path, str(machine["metadata"]()))
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no compiled model of hwnas: {one_line(error)}") from None
    check_runs_here(str(path), metadata.cpu, metadata.features)
    return CompiledModel(library, metadata)


def build(network: LoweredNetwork, cpu: Cpu) -> Any:  # noqa: ANN401  tvm is untyped
    """Returns the network as a compiled Relax module."""
    module = kernel_module(functions(network, cpu), {"network": calls(network)}, shapes(network))
    builder = relax.BlockBuilder()
    x = relax.Var("input", relax.TensorType((1, *network.input_shape), "float32"))
    with builder.function("main", [x]):
        target = builder.add_func(module["network"], "network")
        weights = relax.const(network.weights)
        # The workspace is a second output of the call, so that Relax allocates it.
        made = [
            relax.TensorType(shapes(network)[memory], ELEMENTS[memory][0])
            for memory in ("workspace", "output")
        ]
        both = builder.emit(relax.call_tir(target, [x, weights], made))
        builder.emit_func_output(builder.emit(relax.TupleGetItem(both, 1)))
    with builder.function("metadata", []):
        builder.emit_func_output(ir.StringImm(metadata_of(network, cpu).to_json()))
    whole = builder.get()
    kernels = {n: f for n, f in module.functions.items() if n.name_hint != "network"}
    whole.update(tvm.IRModule(kernels))
    return relax.build(whole, target=cpu.target, tir_pipeline=PIPELINE)


def functions(
    network: LoweredNetwork, cpu: Cpu, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Returns each distinct kernel of the network by name; ``only`` some where that is given."""
    made = {}
    unit = cpu.vector_unit
    for (kernel, tile), name in function_names(network).items():
        if only is not None and name not in only:
            continue
        cut = (tile,) if isinstance(kernel, TiledKernel) else ()
        made[name] = kernel.function(unit, *cut)
    return made


def function_names(network: LoweredNetwork) -> dict[tuple[Any, Tile], str]:
    names: dict[tuple[Any, Tile], str] = {}
    for step in network.steps:
        kind = type(step.kernel).__name__.removesuffix("Kernel").lower()
        names.setdefault((step.kernel, step.tile), f"{kind}_{len(names)}")
    return names


def calls(network: LoweredNetwork) -> list[Call]:
    names = function_names(network)
    return [
        Call(names[step.kernel, step.tile], step.arguments, step.numbers) for step in network.steps
    ]


def shapes(network: LoweredNetwork) -> Mapping[Memory, tuple[int, ...]]:
    """Returns the shape of each memory as the entry function takes it."""
    output = network.output_shape
    return {
        "input": (1, *network.input_shape),
        "weights": network.weights.shape,
        "workspace": (network.workspace_size,),
        "output": (1, *(output[:1] if output[1:] == (1, 1) else output)),
    }


def memories(network: LoweredNetwork, board: Board) -> list[Any]:
    """Returns the memories of a network, its maps full of ordinary numbers, or of any codes."""
    rng, shape = np.random.default_rng(0), shapes(network)
    numbers = rng.normal(size=-(-network.workspace_size // 4)).astype(np.float32)
    return [
        board.tensor(rng.normal(size=shape["input"]).astype(np.float32)),
        board.tensor(network.weights),
        board.tensor(numbers.view(np.uint8)[: network.workspace_size]),
        board.tensor(np.zeros(shape["output"], np.float32)),
    ]
