"""Boards: what runs there gives this machine's numbers, and blocks are as long as asked for."""

from dataclasses import dataclass, field
from time import sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latency_models.boards.board import MAX_RUNS, LocalBoard, board_block, time_ms
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import calls, compile_model, functions, shapes, tile_choice
from latency_models.compiler.lower import lower
from latency_models.devices.cpu import Cpu, host_cpu
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d
from tests.latency_models.parts.cases import graph_of

MODEL = random_model(graph_of((3, 8, 8), Conv2d(4)), np.random.default_rng(0))
X = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)


def test_this_machine_runs_and_times_kernels() -> None:
    board, cpu = LocalBoard(), host_cpu()
    network = lower(MODEL, cpu.vector_unit, tile_choice(cpu, tuned=False))
    kinds = shapes(network)
    module = kernel_module(functions(network, cpu), {"network": calls(network)}, kinds)
    memories = (
        X,
        network.weights,
        np.zeros(kinds["workspace"], np.uint8),
        np.zeros(kinds["output"], np.float32),
    )
    tensors = [board.tensor(memory) for memory in memories]

    loaded = board.load(compile_kernels(module, cpu.target), cpu)
    loaded["network"](*tensors)

    np.testing.assert_array_equal(tensors[-1].numpy()[0], compile_model(MODEL, cpu).run(X))
    times = time_ms(board, loaded, "network", tensors, number=2, repeat=5)
    assert len(times) == 5
    assert min(times) > 0


def test_code_that_this_machine_cannot_run_is_refused() -> None:
    with pytest.raises(UserError, match="aarch64"):
        LocalBoard().load(None, Cpu("cortex-a53", "aarch64-linux-gnu"))


@dataclass
class FakeModule:
    """Runs that take ``run_ms`` each by a clock of its own, and how many were asked for."""

    run_ms: float
    clock: float = 1.0
    asked: list[int] = field(default_factory=list)

    def time_evaluator(self, *_: object, repeat: int, **__: object) -> Any:  # noqa: ANN401
        self.asked.append(repeat)
        return lambda: self.runs(repeat)

    def runs(self, repeat: int) -> SimpleNamespace:
        sleep(self.run_ms / 1e3 * repeat / self.clock)
        return SimpleNamespace(results=[self.run_ms / 1e3] * repeat)


@pytest.mark.parametrize(("run_ms", "runs"), [(2.0, 5), (100.0, 1), (1e-6, MAX_RUNS)])
def test_a_block_has_as_many_runs_as_fill_its_time(run_ms: float, runs: int) -> None:
    module = FakeModule(run_ms)
    block = board_block(LocalBoard(), module, "main", ())

    first, second = block(0), block(10e6)

    assert (len(first), len(second)) == (1, runs)
    assert second[0] == pytest.approx(run_ms)
    assert module.asked == [1, runs]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (FakeModule(500.0, clock=1000.0), "took 500 ms by the board's clock"),
        (FakeModule(0.0), "1 times of 1, or some not above 0"),
    ],
)
def test_times_that_cannot_be_are_refused(module: FakeModule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_ms(LocalBoard(), module, "main", ())
