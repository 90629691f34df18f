"""Kernel programs: chosen kernels of a network, compiled with an entry each and timed one by one.

Each runs on maps as it meets them in the network, but for their memory, which no two share.
Calling an entry costs about 10 ns, which the times contain.
"""

from collections.abc import Collection, Sequence
from math import ceil
from statistics import median
from typing import Any

from latency_models.boards.board import Board, time_ms
from latency_models.boards.timing import MS, Block
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import calls, functions, memories, shapes
from latency_models.compiler.lower import LoweredNetwork, TileChoice, lower
from latency_models.devices.cpu import Cpu
from search_spaces.graphs.model import Model

SPAN_NS = 20_000  # how long the runs behind one time take at least, about


def kernel_times(
    model: Model,
    cpu: Cpu,
    board: Board,
    choose_tile: TileChoice,
    nodes: Collection[str] | None = None,
    *,
    repeat: int = 5,
    min_repeat_ms: int = 5,
) -> list[tuple[str, float, str]]:
    """Returns node, milliseconds and instruction of each kernel, in the order in which they run.

    Each is timed alone, so their sum leaves out what the caches cost from one kernel to the next.

    Args:
        nodes: Only the kernels of these nodes are compiled and timed; None takes all.

    Raises:
        UserError: If the board cannot run code for ``cpu``.
    """
    network = lower(model, cpu.vector_unit, choose_tile, apart=True)
    steps = {i: s for i, s in enumerate(network.steps) if nodes is None or s.node in nodes}
    entries, module, tensors = load_kernels(network, cpu, board, tuple(steps))
    times = [
        median(time_ms(board, module, entry, tensors, repeat=repeat, min_repeat_ms=min_repeat_ms))
        for entry in entries
    ]
    return [
        (step.node, median_ms, step.kernel.instruction(cpu.vector_unit))
        for step, median_ms in zip(steps.values(), times, strict=True)
    ]


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
    entries, module, tensors = load_kernels(network, cpu, board, indices)
    return [entry_block(board, module, entry, tensors) for entry in entries]


def load_kernels(
    network: LoweredNetwork, cpu: Cpu, board: Board, indices: Sequence[int]
) -> tuple[list[str], Any, list[Any]]:
    """Returns the entries of chosen kernels, their module on the board, and what they run on."""
    board.check_runs(cpu)
    every = calls(network)
    names = [f"kernel_{index}" for index in indices]
    entries = {name: [every[index]] for name, index in zip(names, indices, strict=True)}
    used = {every[index].function for index in indices}
    module = kernel_module(functions(network, cpu, used), entries, shapes(network))
    loaded = board.load(compile_kernels(module, cpu.target), cpu)
    return names, loaded, memories(network, board)


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
