"""Boards: where compiled kernels run and are timed, this machine or one that is reached over RPC.

Times are taken by a clock of the board itself, so a network between it and here does not count.
"""

from collections.abc import Sequence
from math import ceil
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import tvm
from numpy.typing import NDArray

from latency_models.boards.library_file import check_runs_here
from latency_models.boards.timing import MS, Block
from latency_models.devices.cpu import Cpu

MAX_RUNS = 10_000  # of one block, whose times come back in one answer
FASTEST_CLOCK = 1.05  # a board's beside this machine's; more is no clock


class Board(Protocol):
    """A machine that runs compiled modules."""

    @property
    def device(self) -> Any:  # noqa: ANN401  tvm is untyped
        """TVM's device: where tensors are."""
        ...

    def check_runs(self, cpu: Cpu) -> None:
        """Raises UserError if the board cannot run code for ``cpu``."""
        ...

    def load(self, compiled: Any, cpu: Cpu) -> Any:  # noqa: ANN401
        """Returns a module that was compiled here for ``cpu`` as one that runs on the board.

        Raises:
            UserError: As `check_runs`, or if nothing here links such code.
        """
        ...

    def tensor(self, array: NDArray[Any]) -> Any:  # noqa: ANN401
        """Returns a copy of ``array`` in the board's memory; ``numpy()`` of it comes back."""
        ...


class LocalBoard:
    """This machine."""

    def __init__(self) -> None:
        self.device = tvm.cpu()

    def check_runs(self, cpu: Cpu) -> None:
        check_runs_here("code to be timed", cpu, cpu.features)

    def load(self, compiled: Any, cpu: Cpu) -> Any:  # noqa: ANN401
        self.check_runs(cpu)
        return compiled

    def tensor(self, array: NDArray[Any]) -> Any:  # noqa: ANN401
        return tvm.runtime.tensor(np.ascontiguousarray(array), self.device)


def time_ms(
    board: Board,
    module: Any,  # noqa: ANN401
    entry: str,
    tensors: Sequence[Any],
    *,
    number: int = 1,
    repeat: int = 1,
    min_repeat_ms: int = 0,
) -> list[float]:
    """Returns the milliseconds of one run of ``module[entry](*tensors)``, ``repeat`` times.

    Args:
        module: As ``board.load`` gave it.
        number: Runs behind each time, which is their mean; one more run comes before the first.
        min_repeat_ms: ``number`` grows until a repeat takes as long.

    Raises:
        ValueError: If the board says what cannot be.
    """
    timer = module.time_evaluator(
        entry, board.device, number=number, repeat=repeat, min_repeat_ms=min_repeat_ms
    )
    start = perf_counter()
    times = [1e3 * float(seconds) for seconds in timer(*tensors).results]
    passed_ms = 1e3 * (perf_counter() - start)
    if not (len(times) == repeat and all(time > 0 for time in times)):
        raise ValueError(f"the board gives {len(times)} times of {repeat}, or some not above 0")
    if not sum(times) * number <= FASTEST_CLOCK * passed_ms:
        raise ValueError(
            f"runs took {sum(times) * number:.3g} ms by the board's clock and {passed_ms:.3g} ms "
            "passed here"
        )
    return times


def board_block(board: Board, module: Any, entry: str, tensors: Sequence[Any]) -> Block:  # noqa: ANN401
    """Returns the block that runs ``module[entry](*tensors)``, timed by the board's own clock.

    Its length in runs follows from how long the runs of the block before took.
    """
    once_ns = float("inf")

    def block(duration_ns: float) -> list[float]:
        nonlocal once_ns
        runs = min(max(1, ceil(duration_ns / once_ns)), MAX_RUNS)
        times = time_ms(board, module, entry, tensors, repeat=runs)
        once_ns = max(median(times) * MS, 1.0)
        return times

    return block
