"""Runs one kernel alone, with every map in guarded memory of its own.

Maps are given and taken as values (C, H, W): real numbers, or codes as they lie in memory.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from latency_models.compiler.build import Call, compile_kernels, kernel_module
from latency_models.compiler.memory import MEMORIES, Address, Memory
from latency_models.devices.cpu import Cpu
from latency_models.kernels.view import View
from tests.latency_models.compiler import aarch64_machine
from tests.latency_models.parts.processors import skip_unless_it_runs

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
GUARD = 256  # bytes before and after each map that must stay as they were
MARK = 0xA5  # what bytes hold that nobody should touch
BITS = np.arange(32, dtype=np.uint32)


def pixels_of(view: View, memory: Array) -> Array:
    """The elements (C or words, H, W) of a view of ``memory``, which begins at its origin."""
    count = view.channels if view.form.kind != "planes" else view.form.bits * view.words
    step = view.channel_stride if view.form.kind != "planes" else 1
    size = memory.itemsize
    strides = tuple(size * s for s in (step, view.row_stride, view.pixel_stride))
    shape = (count, view.height, view.width)
    return np.lib.stride_tricks.as_strided(memory, shape, strides)


def with_halo(view: View) -> View:
    """The view that takes in the halo."""
    return View(
        view.channels,
        view.height + 2 * view.halo,
        view.width + 2 * view.halo,
        pixel_stride=view.pixel_stride,
        planar=view.planar,
        form=view.form,
    )


def write(view: View, elements: Array, values: Array) -> None:
    """Writes values (C, H, W) into elements that begin at the view's pixel (0, 0)."""
    if view.form.kind != "planes":
        pixels_of(view, elements)[...] = values
        return
    padded = np.zeros((view.words * 32, view.height, view.width), np.uint32)
    padded[: view.channels] = values
    words = padded.reshape(view.words, 32, view.height, view.width)
    assert view.plane_stride >= view.words
    for plane in range(view.form.bits):
        ones = words >> np.uint32(plane) & np.uint32(1)
        packed = (ones << BITS[None, :, None, None]).sum(1, dtype=np.uint32)
        place = elements[plane * view.plane_stride :]
        np.lib.stride_tricks.as_strided(
            place,
            packed.shape,
            tuple(4 * s for s in (1, view.row_stride, view.pixel_stride)),
        )[...] = packed


def read(view: View, elements: Array) -> Array:
    """Returns the values (C, H, W); asserts that bits that are no channel are zero."""
    if view.form.kind != "planes":
        return pixels_of(view, elements).copy()
    values = np.zeros((view.words * 32, view.height, view.width), np.uint32)
    for plane in range(view.form.bits):
        words = np.lib.stride_tricks.as_strided(
            elements[plane * view.plane_stride :],
            (view.words, view.height, view.width),
            tuple(4 * s for s in (1, view.row_stride, view.pixel_stride)),
        )
        ones = words[:, None] >> BITS[None, :, None, None] & np.uint32(1)
        values += ones.reshape(values.shape) << np.uint32(plane)
    assert not values[view.channels :].any()
    return values[: view.channels]


def element_type(view: View) -> np.dtype[Any]:
    return np.dtype(view.form.element)


def memory_with(view: View, values: Array | None) -> Bytes:
    """Memory in which ``view`` has ``values`` and its halo zeros; all else is marked."""
    memory = np.full(view.bytes + 2 * GUARD, MARK, np.uint8)
    if values is not None:
        elements = memory[GUARD:].view(element_type(view))
        whole = with_halo(view)
        write(whole, elements, np.full(whole.shape, view.form.zero))
        write(view, elements[view.origin :], values)
    return memory


def run_kernel(
    kernel: Any,  # noqa: ANN401  any kernel record
    cpu: Cpu,
    maps: Mapping[str, tuple[View, Array | None]],
    constants: Mapping[str, Array] | None = None,
    tile: object | None = None,
) -> list[Array]:
    """Returns what the kernel writes to each of its targets, (C, H, W).

    Asserts that nothing else was touched.

    Args:
        maps: By argument: views with their values; None for those that are written.
        constants: By argument: weights and the like, of any type.
    """
    unit = cpu.vector_unit
    function = kernel.function(unit) if tile is None else kernel.function(unit, tile)
    before = {name: memory_with(view, values) for name, (view, values) in maps.items()}
    workspace, starts = concatenated(before)
    weights, at = concatenated(
        {name: array.ravel().view(np.uint8) for name, array in (constants or {}).items()}
    )
    arguments = []
    for name in kernel.arguments:
        if name in maps:
            view = maps[name][0]
            offset = starts[name] + GUARD + view.origin * view.form.element_bytes
            arguments.append(Address("workspace", offset))
        else:
            arguments.append(Address("weights", at[name]))
    after = run_memory(function, cpu, arguments, workspace, weights=weights)
    results = []
    expected = workspace.copy()
    for name, (view, values) in maps.items():
        if values is None:
            results.append(take_out(view, starts[name], after, expected))
    np.testing.assert_array_equal(after, expected)
    return results


def take_out(view: View, start: int, after: Bytes, expected: Bytes) -> Array:
    """Reads a written map, and writes it to what is expected, so that the rest can be compared."""
    elements = after[start + GUARD :][: view.bytes].view(element_type(view))
    values = read(view, elements[view.origin :])
    copy = expected[start + GUARD :][: view.bytes].view(element_type(view))
    write(view, copy[view.origin :], values)
    return values


def concatenated(parts: Mapping[str, Bytes]) -> tuple[Bytes, dict[str, int]]:
    """All parts in one memory at multiples of 64 bytes, and where each begins."""
    starts, size = {}, 0
    for name, part in parts.items():
        starts[name] = size
        size += -(-len(part) // 64) * 64
    memory = np.full(max(size, 64) + 64, MARK, np.uint8)
    for name, part in parts.items():
        memory[starts[name] : starts[name] + len(part)] = part
    return memory, starts


def run_memory(
    function: Any,  # noqa: ANN401  a TVM function
    cpu: Cpu,
    arguments: list[Address],
    workspace: Bytes,
    numbers: tuple[int, ...] = (),
    weights: Bytes | None = None,
) -> Bytes:
    """Returns the workspace after a call; skips where the processor cannot be had."""
    if not cpu.triple:
        skip_unless_it_runs(cpu)
    one = np.zeros(1, np.float32)
    memories: tuple[Array, ...] = (
        one,
        np.zeros(1, np.uint8) if weights is None else weights,
        workspace,
        one,
    )
    shapes: dict[Memory, tuple[int, ...]] = {
        name: memory.shape for name, memory in zip(MEMORIES, memories, strict=True)
    }
    call = Call("kernel", tuple(arguments), numbers)
    module = kernel_module({"kernel": function}, {"run": [call]}, shapes)
    compiled = compile_kernels(module, cpu.target)
    if cpu.triple:
        return aarch64_machine.run(compiled, cpu, memories)[0]
    tensors = [tvm.runtime.tensor(memory) for memory in memories]
    compiled["run"](*tensors)
    after: Bytes = tensors[2].numpy()
    return after


def assert_close(result: Array, expected: Array) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4 * scale)
