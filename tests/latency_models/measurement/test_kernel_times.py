"""Kernel programs: chosen kernels run one by one, on the maps that they have in the network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latency_models.boards.board import LocalBoard
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import (
    calls,
    compile_model,
    functions,
    memories,
    shapes,
    tile_choice,
)
from latency_models.compiler.lower import LoweredNetwork, lower
from latency_models.compiler.plan import plan_kernels
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.measurement.kernel_times import (
    SPAN_NS,
    entry_block,
    kernel_blocks,
    kernel_times,
)
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Add, Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import get_precision

CPU = host_cpu()
CHOOSE = tile_choice(CPU, tuned=False)


def small(precision: str = "fp32") -> Graph:
    """Maps with and without borders, a sum, and a kernel that takes far longer than others."""
    net, low = GraphBuilder((3, 12, 12)), get_precision(precision)
    x = net.add("stem", Conv2d(32, (3, 3)), net.input)
    y = net.add("heavy", Conv2d(128, (3, 3), precision=low), x)
    y = net.add("back", Conv2d(32, (3, 3), activation="none", precision=low), y)
    x = net.add("sum", Add("relu"), x, y)
    net.add("logits", Linear(5), net.add("pool", GlobalAvgPool(), x))
    return net.graph()


def weighted(graph: Graph) -> Model:
    return random_model(graph, np.random.default_rng(0))


def lowered(graph: Graph, *, apart: bool) -> LoweredNetwork:
    return lower(weighted(graph), CPU.vector_unit, CHOOSE, apart=apart)


@pytest.mark.parametrize("precision", ["fp32", "w8a8", "xnor"])
def test_kernels_on_memory_of_their_own_compute_the_network(precision: str) -> None:
    graph, board = small(precision), LocalBoard()
    network, x = lowered(graph, apart=True), np.random.default_rng(1).normal(size=(1, 3, 12, 12))
    entries = {f"kernel_{i}": [call] for i, call in enumerate(calls(network))}
    module = kernel_module(functions(network, CPU), entries, shapes(network))
    loaded = board.load(compile_kernels(module, CPU.target), CPU)
    tensors = memories(network, board)
    tensors[0] = board.tensor(x.astype(np.float32).reshape(shapes(network)["input"]))

    for entry in entries:
        loaded[entry](*tensors)

    wanted = compile_model(weighted(graph), CPU).run(x.astype(np.float32))
    np.testing.assert_array_equal(tensors[-1].numpy().ravel(), np.ravel(wanted))


def test_only_memory_differs_where_no_two_maps_share_it() -> None:
    graph = small("w8a8")
    apart, shared = lowered(graph, apart=True), lowered(graph, apart=False)

    assert [(s.kernel, s.tile, s.node, s.numbers) for s in apart.steps] == [
        (s.kernel, s.tile, s.node, s.numbers) for s in shared.steps
    ]
    assert apart.workspace_size > shared.workspace_size
    np.testing.assert_array_equal(apart.weights, shared.weights)
    plan = plan_kernels(graph, CPU.vector_unit)
    sizes = {
        plan.places.place(name).buffer: plan.places.buffer_view(plan.places.place(name).buffer)
        for planned in plan.kernels
        for name in planned.maps.values()
        if plan.places.memory_of(name) == "workspace"
    }
    assert apart.workspace_size >= sum(view.bytes for view in sizes.values())


def test_maps_hold_ordinary_numbers() -> None:
    network = lowered(small(), apart=True)
    _, weights, workspace, _ = (each.numpy() for each in memories(network, LocalBoard()))
    numbers = workspace[: workspace.size // 4 * 4].view(np.float32)
    assert np.all(np.isfinite(numbers))
    assert np.all(np.abs(numbers) > np.finfo(np.float32).tiny)
    assert weights.size > 0


def test_chosen_kernels_are_timed_in_their_order() -> None:
    graph = small()
    kernels = plan_kernels(graph, CPU.vector_unit).kernels
    (heavy,) = (i for i, each in enumerate(kernels) if each.node == "heavy" and each.work)
    pool = next(i for i, each in enumerate(kernels) if each.node == "pool")

    blocks = kernel_blocks(weighted(graph), CPU, LocalBoard(), [pool, heavy, pool], CHOOSE)

    for block in blocks:
        block(0)
    first, second, again = (min(block(1e6)[0] for _ in range(5)) for block in blocks)
    assert second > 3 * max(first, again)


def test_every_kernel_has_a_time() -> None:
    model = weighted(small())
    times = kernel_times(model, CPU, LocalBoard(), CHOOSE, repeat=1, min_repeat_ms=1)

    kernels = plan_kernels(model.graph, CPU.vector_unit).kernels
    assert [node for node, _, _ in times] == [kernel.node for kernel in kernels]
    assert all(median_ms > 0 for _, median_ms, _ in times)
    some = kernel_times(model, CPU, LocalBoard(), CHOOSE, {"heavy"}, repeat=1)
    assert {node for node, _, _ in some} == {"heavy"}


def test_no_kernel_gives_no_block() -> None:
    assert kernel_blocks(weighted(small()), CPU, LocalBoard(), [], CHOOSE) == []


def test_code_that_the_board_cannot_run_is_refused() -> None:
    cpu = Cpu("cortex-a53", "aarch64-linux-gnu")
    choose = tile_choice(cpu, tuned=False)
    with pytest.raises(UserError, match="cortex-a53"):
        kernel_blocks(weighted(small()), cpu, LocalBoard(), [0], choose)


@dataclass
class FakeModule:
    """Runs that take ``run_ms`` each, and how many were asked for: (number, repeat)."""

    run_ms: float
    asked: list[tuple[int, int]] = field(default_factory=list)

    def time_evaluator(
        self,
        entry: str,
        device: object,
        *,
        number: int,
        repeat: int,
        min_repeat_ms: int,
    ) -> Callable[[], Any]:
        self.asked.append((number, repeat))

        def runs() -> SimpleNamespace:
            sleep(self.run_ms / 1e3 * number * repeat)
            return SimpleNamespace(results=[self.run_ms / 1e3] * repeat)

        return runs


@pytest.mark.parametrize(
    ("run_ms", "wanted"),
    [
        (0.001, (20, 250)),  # spans of 20 microseconds
        (0.5, (1, 10)),
        (50.0, (1, 1)),
    ],
)
def test_a_block_is_about_as_long_as_asked_for(run_ms: float, wanted: tuple[int, int]) -> None:
    module = FakeModule(run_ms)
    block = entry_block(LocalBoard(), module, "kernel_0", ())

    assert block(0)[0] == pytest.approx(run_ms)
    assert block(5e6)[0] == pytest.approx(run_ms)

    assert SPAN_NS == 20_000
    assert module.asked == [(1, 1), wanted]
