"""Pooling: largest value or mean of each window, and the mean of a whole map."""

from dataclasses import dataclass
from typing import Any, Literal

from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.emitter import Buffer, Expr, T, Vectors, emit_function
from latency_models.kernels.view import View
from search_spaces.operators import Size


@dataclass(frozen=True, slots=True)
class PoolKernel:
    """Max or average pooling between two views of as many channels.

    The average reads the zeros of the source's halo, so padding counts. The maximum reads the
    nearest number of the map in place of padding: it lies in the same window.
    """

    kind: Literal["max", "average"]
    source: View
    target: View
    kernel_size: Size
    stride: Size
    padding: Size = (0, 0)

    def __post_init__(self) -> None:
        assert not self.source.planar
        assert not self.target.planar
        if self.kind == "average" and self.padding != (0, 0):
            assert max(self.padding) <= self.source.halo, self

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "target")

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        v = Vectors(unit)
        (height, width), view = self.kernel_size, self.source

        def emit(source: Buffer, target: Buffer) -> None:
            def window(y: Expr, x: Expr, channel: Expr, valid: Expr | None) -> None:
                result = v.register()
                v.put(result, v.constant(0 if self.kind == "average" else -float("inf")))
                with T.grid(height, width) as (i, j):
                    row = y * self.stride[0] - self.padding[0] + i
                    column = x * self.stride[1] - self.padding[1] + j
                    if self.kind == "max":
                        row = T.max(T.min(row, T.int32(view.height - 1)), T.int32(0))
                        column = T.max(T.min(column, T.int32(view.width - 1)), T.int32(0))
                    offset = row * view.row_stride + column * view.pixel_stride + channel
                    value = v.load(source, offset)
                    both = v.get(result)
                    v.put(result, both + value if self.kind == "average" else T.max(both, value))
                value = v.get(result)
                if self.kind == "average":
                    value = value * v.constant(1 / (height * width))
                offset = y * self.target.row_stride + x * self.target.pixel_stride + channel
                v.store(target, offset, value, valid)

            with T.grid(self.target.height, self.target.width) as (y, x):
                v.for_channels(view.channels, lambda c, valid: window(y, x, c, valid))

        return emit_function(self.arguments, emit)


@dataclass(frozen=True, slots=True)
class GlobalPoolKernel:
    """The mean of each channel: a map of one pixel."""

    source: View
    target: View

    def __post_init__(self) -> None:
        assert not self.source.planar

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "target")

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        v = Vectors(unit)
        view = self.source

        def emit(source: Buffer, target: Buffer) -> None:
            def channels(channel: Expr, valid: Expr | None) -> None:
                total = v.register()
                v.put(total, v.constant(0))
                with T.grid(view.height, view.width) as (y, x):
                    offset = y * view.row_stride + x * view.pixel_stride + channel
                    v.put(total, v.get(total) + v.load(source, offset))
                mean = v.get(total) * v.constant(1 / (view.height * view.width))
                v.store(target, channel, mean, valid)

            v.for_channels(view.channels, channels)

        return emit_function(self.arguments, emit)
