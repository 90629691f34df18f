"""Depthwise convolution with bias, residual sum and activation.

Vectors run over the channels; a tile of adjacent output pixels shares the loaded inputs, and its
sums stay in registers while the loops run over the window.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.emitter import (
    Buffer,
    Expr,
    T,
    Vectors,
    emit_function,
    for_parts,
    split_evenly,
)
from latency_models.kernels.view import View
from search_spaces.operators import Activation, Size

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DepthwiseTile:
    """How a depthwise convolution is cut.

    Attributes:
        rows: Output rows of a register tile, at most.
        columns: Output columns of a register tile, at most.
    """

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True, slots=True)
class DepthwiseKernel:
    """A depthwise convolution between two views of as many channels."""

    source: View
    target: View
    kernel_size: Size
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    activation: Activation = "none"
    residual: View | None = None

    def __post_init__(self) -> None:
        assert not self.source.planar
        assert not self.target.planar
        assert self.source.channels == self.target.channels
        assert max(self.padding) <= self.source.halo or self.padding == (0, 0), self

    @property
    def arguments(self) -> tuple[str, ...]:
        residual = ("residual",) if self.residual else ()
        return ("source", "weights", *residual, "target")

    def pack(self, weight: Array, bias: Array, unit: VectorUnit, tile: DepthwiseTile) -> Array:
        """Returns weight (C, 1, kh, kw) and bias (C,) as the kernel reads them, flat.

        Each vector of channels has its bias first, then its taps in the order of the window.
        """
        channels, lanes = self.source.channels, unit.lanes
        blocks = -(-channels // lanes)
        window = self.kernel_size[0] * self.kernel_size[1]
        packed = np.zeros((blocks * lanes, 1 + window), np.float32)
        packed[:channels, 0] = bias
        packed[:channels, 1:] = weight.reshape(channels, window)
        return packed.reshape(blocks, lanes, 1 + window).transpose(0, 2, 1).ravel()

    def function(self, unit: VectorUnit, tile: DepthwiseTile) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        return emit_function(self.arguments, _Emission(self, unit, tile).emit)

    def default_tile(self, unit: VectorUnit) -> DepthwiseTile:
        return self.candidate_tiles(unit, 1)[0]

    def candidate_tiles(self, unit: VectorUnit, limit: int) -> tuple[DepthwiseTile, ...]:
        """Returns the ``limit`` tiles that are worth timing, the default one first."""
        width, height = self.target.width, self.target.height
        wide = unit.registers > 16
        small = self.kernel_size[0] * self.kernel_size[1] <= 9
        sizes = ((1, 8), (2, 7), (2, 4), (1, 4), (1, 14)) if wide else ((1, 4), (2, 2), (1, 6))
        if wide and small and self.stride == (1, 1):
            sizes = ((2, 7), (1, 8), (2, 4), (4, 4), (1, 14))
        tiles = [DepthwiseTile(min(rows, height), min(cols, width)) for rows, cols in sizes]
        return tuple(dict.fromkeys(tiles))[:limit]


class _Emission:
    """One depthwise convolution being written."""

    def __init__(self, kernel: DepthwiseKernel, unit: VectorUnit, tile: DepthwiseTile) -> None:
        self.kernel, self.lanes, self.tile = kernel, unit.lanes, tile
        self.vectors = Vectors(unit)

    def emit(self, source: Buffer, weights: Buffer, *rest: Buffer) -> None:
        self.source, self.weights, self.target = source, weights, rest[-1]
        self.residual = rest[0]
        kernel, view = self.kernel, self.kernel.target
        columns = split_evenly(view.width, self.tile.columns)

        def row(y: Expr, rows: int) -> None:
            def channels(channel: Expr, valid: Expr | None) -> None:
                for_parts(columns, lambda x, n, _: self.block(y, rows, x, n, channel, valid))

            self.vectors.for_channels(kernel.source.channels, channels)

        for_parts(split_evenly(view.height, self.tile.rows), lambda y, rows, _: row(y, rows))
        self.vectors.zero_halo(self.target, view)

    def block(
        self, y: Expr, rows: int, x: Expr, columns: int, channel: Expr, valid: Expr | None
    ) -> None:
        kernel, v = self.kernel, self.vectors
        height, width = kernel.kernel_size
        packed = channel * (1 + height * width)
        sums = [[v.register() for _ in range(columns)] for _ in range(rows)]
        bias = v.load(self.weights, packed)
        for row in sums:
            for register in row:
                v.put(register, bias)
        top = y * kernel.stride[0] - kernel.padding[0]
        left = (x * kernel.stride[1] - kernel.padding[1]) * kernel.source.pixel_stride + channel
        if rows == 1:
            with T.serial(height) as i:
                offset = (top + i * kernel.dilation[0]) * kernel.source.row_stride + left
                self.accumulate([(i, sums[0])], packed, offset)
        else:
            inputs: dict[int, list[tuple[int, list[Buffer]]]] = {}
            for i in range(height):
                for r in range(rows):
                    line = r * kernel.stride[0] + i * kernel.dilation[0]
                    inputs.setdefault(line, []).append((i, sums[r]))
            for line in sorted(inputs):
                self.accumulate(
                    inputs[line], packed, (top + line) * kernel.source.row_stride + left
                )
        for r, row in enumerate(sums):
            for n, register in enumerate(row):
                self.finish(v.get(register), y + r, x + n, channel, valid)

    def accumulate(
        self, users: list[tuple[Expr, list[Buffer]]], packed: Expr, offset: Expr
    ) -> None:
        """Adds what one input row gives to each (window row, sums of an output row)."""
        kernel, v = self.kernel, self.vectors
        width = kernel.kernel_size[1]
        taps = [
            [v.load(self.weights, packed + (1 + i * width + j) * self.lanes) for j in range(width)]
            for i, _ in users
        ]
        pixel = kernel.source.pixel_stride
        columns = range(len(users[0][1]))
        readers: dict[int, list[tuple[int, int]]] = {}
        for n in columns:
            for j in range(width):
                place = n * kernel.stride[1] + j * kernel.dilation[1]
                readers.setdefault(place, []).append((n, j))
        for place in sorted(readers):
            value = v.load(self.source, offset + place * pixel)
            for (_, row), row_taps in zip(users, taps, strict=True):
                for n, j in readers[place]:
                    v.put(row[n], v.get(row[n]) + value * row_taps[j])

    def finish(self, value: Expr, y: Expr, x: Expr, channel: Expr, valid: Expr | None) -> None:
        kernel, v = self.kernel, self.vectors
        if kernel.residual is not None:
            view = kernel.residual
            offset = y * view.row_stride + x * view.pixel_stride + channel
            value = value + v.load(self.residual, offset)
        target = kernel.target
        offset = y * target.row_stride + x * target.pixel_stride + channel
        v.store(self.target, offset, v.activate(kernel.activation, value), valid)
