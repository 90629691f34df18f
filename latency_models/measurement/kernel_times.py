"""Kernel programs: chosen kernels of a network, compiled with an entry each and timed one by one.

Each runs on maps as it meets them in the network, but for their memory, which no two share.
Calling an entry costs about 10 ns, which the times contain.
"""

from collections.abc import Sequence
from math import ceil
from statistics import median
from typing import Any

from latency_models.boards.board import Board, time_ms
from latency_models.boards.timing import MS, Block
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import calls, functions, memories, shapes
from latency_models.compiler.lower import TileChoice, lower
from latency_models.devices.cpu import Cpu
from search_spaces.graphs.model import Model

SPAN_NS = 20_000  # how long the runs behind one time take at least, about


def kernel_blocks(
    model: Model, cpu: Cpu, board: Board, indices: Sequence[int], choose_tile: TileChoice
) -> list[Block]:
    """Returns a block for each chosen kernel of ``model``.

    Args:
        indices: Places in `plan_kernels` of the model's graph.

    Raises:
        UserError: If the board cannot run code for ``cpu``.
    """
    network = lower(model, cpu.vector_unit, choose_tile, apart=True, only=indices)
    every = calls(network)
    names = {index: f"kernel_{index}" for index in indices}
    entries = {name: [every[index]] for index, name in names.items()}
    used = {every[index].function for index in indices}
    module = kernel_module(functions(network, cpu, used), entries, shapes(network))
    loaded = board.load(compile_kernels(module, cpu.target), cpu)
    tensors = memories(network, board)
    return [entry_block(board, loaded, names[index], tensors) for index in indices]


def entry_block(board: Board, module: Any, entry: str, tensors: Sequence[Any]) -> Block:  # noqa: ANN401
    """Returns the block that runs an entry; it gives one time, the median over short spans."""
    once_ns = 0.0

    def block(duration_ns: float) -> list[float]:
        nonlocal once_ns
        number = repeat = 1
        if once_ns and duration_ns:
            number = max(1, ceil(SPAN_NS / once_ns))
            repeat = max(1, ceil(duration_ns / (number * once_ns)))
        spans = time_ms(board, module, entry, tensors, number=number, repeat=repeat)
        once_ns = max(min(spans) * MS, 1.0)
        return [median(spans)]

    return block
