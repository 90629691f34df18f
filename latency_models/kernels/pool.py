"""Pooling: largest value or mean of each window, and the mean of a whole map."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from latency_models.codegen.emitter import Buffer, Expr, T, Vectors, emit_function
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.kernel import MovingKernel
from latency_models.kernels.plain import MapReader, PlainKernel
from search_spaces.graphs.operators import Size


@dataclass(frozen=True, slots=True)
class PoolKernel(PlainKernel):
    """Max or average pooling between views of as many channels.

    The average reads the zeros of the source's halo, so padding counts. The maximum reads the
    nearest number of the map in place of padding: it lies in the same window.
    """

    kind: Literal["max", "average"] = "max"
    kernel_size: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size = (0, 0)

    def value(self, v: Vectors, sources: list[MapReader], y: Expr, x: Expr, channel: Expr) -> Expr:
        height, width = self.kernel_size
        average = self.kind == "average"
        if average and self.padding != (0, 0):
            assert max(self.padding) <= self.source.halo, self
        result = v.register()
        v.put(result, v.constant(0 if average else -float("inf")))
        with T.grid(height, width) as (i, j):
            row, column = inside(self, y, x, i, j)
            number = sources[0].at(row, column, channel)
            both = v.get(result)
            v.put(result, both + number if average else T.max(both, number))
        value = v.get(result)
        return v.rounded(value * v.constant(1 / (height * width))) if average else value


def inside(kernel: "PoolKernel | CodePoolKernel", y: Expr, x: Expr, i: Expr, j: Expr) -> Any:  # noqa: ANN401
    """The pixel of the source at place (i, j) of a window; the nearest one where that is outside.

    An average reads outside: there are zeros.
    """
    row = y * kernel.stride[0] - kernel.padding[0] + i
    column = x * kernel.stride[1] - kernel.padding[1] + j
    if kernel.kind == "max":
        row = T.max(T.min(row, T.int32(kernel.source.height - 1)), T.int32(0))
        column = T.max(T.min(column, T.int32(kernel.source.width - 1)), T.int32(0))
    return row, column


@dataclass(frozen=True, slots=True)
class CodePoolKernel(MovingKernel):
    """Max pooling of codes as they are: the largest code stands for the largest number."""

    kernel_size: Size
    stride: Size
    padding: Size = (0, 0)

    kind: ClassVar[str] = "max"

    def __post_init__(self) -> None:
        assert self.source.form == self.target.form
        assert self.source.form.kind == "codes"

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        lanes, channels = 4 * unit.lanes, self.source.channels
        height, width = self.kernel_size

        def emit(source: Buffer, target: Buffer) -> None:
            def vector(y: Expr, x: Expr, channel: Expr, size: int) -> None:
                largest = T.alloc_buffer((size,), "uint8", scope="local")
                every = T.ramp(0, 1, size) if size > 1 else 0
                zero = T.Cast("uint8", T.int32(0))
                start = T.broadcast(zero, size) if size > 1 else zero
                T.buffer_store(largest, start, [every])
                with T.grid(height, width) as (i, j):
                    row, column = inside(self, y, x, i, j)
                    at = row * self.source.row_stride + column * self.source.pixel_stride + channel
                    codes = source[T.ramp(at, 1, size) if size > 1 else at]
                    T.buffer_store(largest, T.max(largest[every], codes), [every])
                at = y * self.target.row_stride + x * self.target.pixel_stride + channel
                T.buffer_store(target, largest[every], [T.ramp(at, 1, size) if size > 1 else at])

            with T.grid(self.target.height, self.target.width) as (y, x):
                done = 0
                for size in (lanes, unit.lanes, 1):
                    count = (channels - done) // size
                    if count:
                        with T.serial(count) as block:
                            vector(y, x, done + block * size, size)
                        done += count * size

        return emit_function(self.arguments, emit, types={"source": "uint8", "target": "uint8"})


@dataclass(frozen=True, slots=True)
class GlobalPoolKernel(PlainKernel):
    """The mean of each channel: a map of one pixel."""

    def value(self, v: Vectors, sources: list[MapReader], y: Expr, x: Expr, channel: Expr) -> Expr:
        view = self.source
        total = v.register()
        v.put(total, v.constant(0))
        with T.grid(view.height, view.width) as (row, column):
            v.put(total, v.get(total) + sources[0].at(row, column, channel))
        return v.rounded(v.get(total) * v.constant(1 / (view.height * view.width)))
