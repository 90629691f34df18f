"""Runs one kernel alone, with every map in guarded memory of its own."""

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from latency_models.kernels.cpu import Cpu
from latency_models.kernels.view import View
from latency_models.machine_code import (
    MEMORIES,
    Address,
    Call,
    Memory,
    compile_kernels,
    kernel_module,
)

Array = NDArray[Any]
GUARD = 64  # numbers before and after each memory that must stay as they were
MARK = np.float32(-12345.5)


def view_in(view: View, memory: Array) -> Array:
    """Returns the map (C, H, W) of ``view`` as a writable view of flat ``memory``."""
    start = GUARD + view.origin
    strides = (view.channel_stride, view.row_stride, view.pixel_stride)
    return np.lib.stride_tricks.as_strided(
        memory[start:], view.shape, tuple(4 * s for s in strides)
    )


def with_halo(view: View) -> tuple[View, int]:
    """Returns the view that takes in the halo, and the offset at which it begins."""
    whole = View(
        view.channels,
        view.height + 2 * view.halo,
        view.width + 2 * view.halo,
        pixel_stride=view.pixel_stride,
        planar=view.planar,
    )
    assert whole.size == view.size
    return whole, 0


def memory_with(view: View, values: Array) -> Array:
    """Returns memory in which ``view`` has ``values``, its halo is zero and all else is marked."""
    memory = np.full(view.size + 2 * GUARD, MARK, np.float32)
    view_in(with_halo(view)[0], memory)[...] = 0
    view_in(view, memory)[...] = values
    return memory


def run_kernel(
    kernel: Any,  # noqa: ANN401  any kernel record
    cpu: Cpu,
    inputs: list[tuple[View, Array]],
    packed: Array | None = None,
    tile: object | None = None,
) -> Array:
    """Returns what the kernel writes, (C, H, W).

    Asserts that nothing else was touched.
    """
    unit = cpu.vector_unit
    function = kernel.function(unit) if tile is None else kernel.function(unit, tile)
    before = [memory_with(view, values) for view, values in inputs]
    target: View = kernel.target
    before.append(np.full(target.size + 2 * GUARD, MARK, np.float32))
    starts = np.cumsum([0] + [len(memory) for memory in before])
    order = [
        int(start) + GUARD + view.origin
        for start, view in zip(starts, [*(view for view, _ in inputs), target], strict=False)
    ]
    workspace = np.concatenate(before)
    after = run_memory(function, cpu, order, workspace, weights=packed)
    memory = after[starts[-2] :].copy()
    result = view_in(target, memory).copy()
    view_in(target, memory)[...] = MARK
    expected = workspace.copy()
    expected[starts[-2] :] = MARK
    np.testing.assert_array_equal(np.concatenate([after[: starts[-2]], memory]), expected)
    return result


def run_memory(
    function: Any,  # noqa: ANN401  a TVM function
    cpu: Cpu,
    offsets: list[int],
    workspace: Array,
    numbers: tuple[int, ...] = (),
    weights: Array | None = None,
) -> Array:
    """Returns the workspace after a call on its ``offsets``; weights are the second argument."""
    arguments = [Address("workspace", offset) for offset in offsets]
    if weights is not None:
        arguments.insert(1, Address("weights", 0))
    one = np.zeros(1, np.float32)
    memories = (one, one if weights is None else weights, workspace, one)
    shapes: dict[Memory, tuple[int, ...]] = {
        name: memory.shape for name, memory in zip(MEMORIES, memories, strict=True)
    }
    call = Call("kernel", tuple(arguments), numbers)
    module = kernel_module({"kernel": function}, {"run": [call]}, shapes)
    compiled = compile_kernels(module, cpu.target)
    tensors = [tvm.runtime.tensor(memory) for memory in memories]
    compiled["run"](*tensors)
    after: Array = tensors[2].numpy()
    return after


def assert_close(result: Array, expected: Array) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4 * scale)
