"""Runs one kernel alone, with every map in guarded memory of its own."""

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from latency_models.kernels.cpu import Cpu
from latency_models.kernels.view import View
from latency_models.machine_code import Address, Call, compile_kernels, kernel_module

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
    offsets = [
        int(start) + GUARD + view.origin
        for start, view in zip(starts, [v for v, _ in inputs] + [target], strict=False)
    ]
    places = {
        name: Address("workspace", offset)
        for name, offset in zip(
            [n for n in kernel.arguments if n != "weights"], offsets, strict=True
        )
    }
    places["weights"] = Address("weights", 0)
    call = Call("kernel", tuple(places[name] for name in kernel.arguments))
    workspace = np.concatenate(before)
    weights = np.zeros(1, np.float32) if packed is None else packed
    shapes = {
        "input": (1,),
        "weights": weights.shape,
        "workspace": workspace.shape,
        "output": (1,),
    }
    module = kernel_module({"kernel": function}, {"run": [call]}, shapes)
    compiled = compile_kernels(module, cpu.target)
    one = np.zeros(1, np.float32)
    tensors = [tvm.runtime.tensor(a) for a in (one, weights, workspace, one)]
    compiled["run"](*tensors)
    after = tensors[2].numpy()
    memory = after[starts[-2] :].copy()
    result = view_in(target, memory).copy()
    view_in(target, memory)[...] = MARK
    expected = workspace.copy()
    expected[starts[-2] :] = MARK
    np.testing.assert_array_equal(np.concatenate([after[: starts[-2]], memory]), expected)
    return result


def assert_close(result: Array, expected: Array) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4 * scale)
