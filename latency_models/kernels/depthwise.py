"""Depthwise convolution with bias, residual sum and activation.

Vectors run over the channels; the pixels of a tile share the loaded inputs. The window is
unrolled: a tile is one straight piece of code.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import (
    Buffer,
    Expr,
    T,
    Vectors,
    emit_function,
    for_parts,
    split_evenly,
)
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.epilogue_code import EpilogueEmission
from latency_models.kernels.view import View
from search_spaces.graphs.operators import Size

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
    """A depthwise convolution of real maps between views of as many channels."""

    source: View
    epilogue: Epilogue
    kernel_size: Size
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)

    def instruction(self, unit: VectorUnit) -> str:
        """What does the work: the name of one of the unit's instructions, or nothing."""
        return "fma"

    def __post_init__(self) -> None:
        assert not self.source.planar
        assert self.source.channels == self.target.channels
        assert max(self.padding) <= self.source.halo or self.padding == (0, 0), self

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "weights", *self.epilogue.arguments)

    @property
    def target(self) -> View:
        """The first target: all have one shape."""
        return self.epilogue.targets[0]

    def padded_channels(self, unit: VectorUnit) -> int:
        return -(-self.source.channels // unit.lanes) * unit.lanes

    def places(self, unit: VectorUnit) -> NDArray[np.intp]:
        """For each channel, its place among the padded ones."""
        return np.arange(self.source.channels)

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
        types = self.epilogue.types(unit.lanes)
        return emit_function(self.arguments, _Emission(self, unit, tile).emit, types=types)

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
        self.kernel, self.unit, self.tile = kernel, unit, tile
        self.lanes = unit.lanes
        self.vectors = Vectors(unit)

    def emit(self, source: Buffer, weights: Buffer, *rest: Buffer) -> None:
        self.source, self.weights = source, weights
        kernel, view = self.kernel, self.kernel.target
        padded = kernel.padded_channels(self.unit)
        self.end = EpilogueEmission(kernel.epilogue, self.vectors, padded, rest)
        columns = split_evenly(view.width, self.tile.columns)

        def row(y: Expr, rows: int) -> None:
            def channels(channel: Expr, valid: Expr | None) -> None:
                for_parts(columns, lambda x, n, _: self.block(y, rows, x, n, channel, valid))

            self.vectors.for_channels(kernel.source.channels, channels)

        for_parts(split_evenly(view.height, self.tile.rows), lambda y, rows, _: row(y, rows))

    def block(
        self, y: Expr, rows: int, x: Expr, columns: int, channel: Expr, valid: Expr | None
    ) -> None:
        """One register tile: one vector of channels for rows x columns pixels."""
        kernel, v = self.kernel, self.vectors
        height, width = kernel.kernel_size
        packed = T.bind(channel * (1 + height * width))
        bias = v.load(self.weights, packed)
        taps = {
            (i, j): v.load(self.weights, packed + (1 + i * width + j) * self.lanes)
            for i in range(height)
            for j in range(width)
        }
        sums = self.sums(rows, columns, bias, taps, T.bind(self.origin(y, x) + channel))
        results = {pixel: [value] for pixel, value in sums.items()}
        self.end.finish(y, x, results, channel, channel, valid)

    def origin(self, y: Expr, x: Expr) -> Expr:
        """Offset in the source of the first pixel that a tile reads."""
        kernel, view = self.kernel, self.kernel.source
        top = (y * kernel.stride[0] - kernel.padding[0]) * view.row_stride
        return top + (x * kernel.stride[1] - kernel.padding[1]) * view.pixel_stride

    def sums(
        self, rows: int, columns: int, bias: Expr, taps: dict[tuple[int, int], Expr], origin: Expr
    ) -> dict[tuple[int, int], Expr]:
        """The sum of each pixel of a tile; each input vector is loaded once for all of them."""
        kernel, v = self.kernel, self.vectors
        readers: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
        for r, n in product(range(rows), range(columns)):
            for i, j in taps:
                line = r * kernel.stride[0] + i * kernel.dilation[0]
                place = n * kernel.stride[1] + j * kernel.dilation[1]
                readers.setdefault((line, place), []).append((r, n, i, j))
        sums = dict.fromkeys(product(range(rows), range(columns)), bias)
        for line, place in sorted(readers):
            offset = line * kernel.source.row_stride + place * kernel.source.pixel_stride
            value = v.load(self.source, origin + offset)
            for r, n, i, j in readers[line, place]:
                sums[r, n] = T.bind(sums[r, n] + value * taps[i, j])
        return sums
