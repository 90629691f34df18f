"""Depthwise convolution with bias, residual sum and activation.

Vectors run over the channels; the pixels of a tile share the loaded inputs. The window is
unrolled: a tile is one straight piece of code. Where it is large, a tile is one row of pixels, and
its code a loop over rows of the window.
"""

from abc import abstractmethod
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
from latency_models.kernels.epilogue_code import EpilogueEmission
from latency_models.kernels.kernel import TiledKernel
from search_spaces.graphs.operators import Size

Array = NDArray[np.float32]
LARGE_WINDOW = 100  # taps; code of more takes seconds to compile, and the square of that


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
class Depthwise(TiledKernel[DepthwiseTile]):
    """A depthwise convolution between views of as many channels, ended by an epilogue."""

    def __post_init__(self) -> None:
        TiledKernel.__post_init__(self)
        assert self.source.channels == self.target.channels

    def padded_channels(self, unit: VectorUnit) -> int:
        return -(-self.source.channels // unit.lanes) * unit.lanes

    def places(self, unit: VectorUnit) -> NDArray[np.intp]:
        return np.arange(self.source.channels)

    @property
    def is_large(self) -> bool:
        """Whether rows of the window are looped over."""
        return self.kernel_size[0] * self.kernel_size[1] > LARGE_WINDOW

    @abstractmethod
    def tile_sizes(self, unit: VectorUnit) -> tuple[Size, ...]:
        """Rows and columns of the tiles that are worth timing on a large map, the best first."""

    def default_tile(self, unit: VectorUnit) -> DepthwiseTile:
        return self.candidate_tiles(unit, 1)[0]

    def candidate_tiles(self, unit: VectorUnit, limit: int) -> tuple[DepthwiseTile, ...]:
        width, height = self.target.width, self.target.height
        sizes = self.tile_sizes(unit)
        if self.is_large:
            sizes = tuple(size for size in sizes if size[0] == 1)
        tiles = [DepthwiseTile(min(rows, height), min(cols, width)) for rows, cols in sizes]
        return tuple(dict.fromkeys(tiles))[:limit]


class DepthwiseEmission:
    """A depthwise convolution being written; how sums are made is left to the kind of numbers."""

    def __init__(self, kernel: Depthwise, unit: VectorUnit, tile: DepthwiseTile) -> None:
        self.kernel, self.unit, self.tile = kernel, unit, tile
        self.vectors = Vectors(unit)
        self.columns = split_evenly(kernel.target.width, tile.columns)

    def function(self) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of its arguments."""
        return emit_function(self.kernel.arguments, self.emit, types=self.kernel.types(self.unit))

    def emit(self, source: Buffer, weights: Buffer, *rest: Buffer) -> None:
        self.source, self.weights = source, weights
        kernel = self.kernel
        padded = kernel.padded_channels(self.unit)
        self.end = EpilogueEmission(kernel.epilogue, self.vectors, padded, rest)
        rows = split_evenly(kernel.target.height, self.tile.rows)
        for_parts(rows, lambda y, num_rows, _: self.row(y, num_rows))

    @abstractmethod
    def row(self, y: Expr, rows: int) -> None:
        """Writes one row of tiles of so many output rows."""

    def origin(self, y: Expr, x: Expr) -> Expr:
        """Offset in the source of the first pixel that a tile reads."""
        kernel, view = self.kernel, self.kernel.source
        top = (y * kernel.stride[0] - kernel.padding[0]) * view.row_stride
        return top + (x * kernel.stride[1] - kernel.padding[1]) * view.pixel_stride


@dataclass(frozen=True, slots=True)
class DepthwiseKernel(Depthwise):
    """A depthwise convolution of real maps with real weights, the bias among the weights."""

    def __post_init__(self) -> None:
        Depthwise.__post_init__(self)
        assert not self.source.planar

    def instruction(self, unit: VectorUnit) -> str:
        return "fma"

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
        return RealDepthwiseEmission(self, unit, tile).function()

    def tile_sizes(self, unit: VectorUnit) -> tuple[Size, ...]:
        if unit.registers <= 16:
            return (1, 4), (2, 2), (1, 6)
        if self.kernel_size[0] * self.kernel_size[1] <= 9 and self.stride == (1, 1):
            return (2, 7), (1, 8), (2, 4), (4, 4), (1, 14)
        return (1, 8), (2, 7), (2, 4), (1, 4), (1, 14)


class RealDepthwiseEmission(DepthwiseEmission):
    """One depthwise convolution of real numbers being written."""

    def row(self, y: Expr, rows: int) -> None:
        def channels(channel: Expr, valid: Expr | None) -> None:
            for_parts(self.columns, lambda x, n, _: self.block(y, rows, x, n, channel, valid))

        self.vectors.for_channels(self.kernel.source.channels, channels)

    def block(
        self, y: Expr, rows: int, x: Expr, columns: int, channel: Expr, valid: Expr | None
    ) -> None:
        """One register tile: one vector of channels for rows x columns pixels."""
        kernel, v = self.kernel, self.vectors
        height, width = kernel.kernel_size
        packed = T.bind(channel * (1 + height * width))
        origin = T.bind(self.origin(y, x) + channel)
        bias = v.load(self.weights, packed)
        sums = dict.fromkeys(product(range(rows), range(columns)), bias)
        if kernel.is_large:
            registers = {pixel: v.register() for pixel in sums}
            for register in registers.values():
                v.put(register, bias)
            with T.serial(height) as i:
                taps = self.taps(packed + (1 + i * width) * v.lanes, 1)
                line = T.bind(origin + i * (kernel.dilation[0] * kernel.source.row_stride))
                held = {pixel: v.get(register) for pixel, register in registers.items()}
                for pixel, total in self.sums(held, taps, line).items():
                    v.put(registers[pixel], total)
            sums = {pixel: v.get(register) for pixel, register in registers.items()}
        else:
            sums = self.sums(sums, self.taps(packed + v.lanes, height), origin)
        results = {pixel: [value] for pixel, value in sums.items()}
        self.end.finish(y, x, results, channel, channel, valid)

    def taps(self, offset: Expr, rows: int) -> dict[tuple[int, int], Expr]:
        """The weights of so many rows of the window, one vector of channels each."""
        v, width = self.vectors, self.kernel.kernel_size[1]
        return {
            (i, j): v.load(self.weights, offset + (i * width + j) * v.lanes)
            for i in range(rows)
            for j in range(width)
        }

    def sums(
        self,
        before: dict[tuple[int, int], Expr],
        taps: dict[tuple[int, int], Expr],
        origin: Expr,
    ) -> dict[tuple[int, int], Expr]:
        """Adds to the sum of each pixel of a tile; an input vector is loaded once for them all."""
        kernel, v = self.kernel, self.vectors
        readers: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
        for r, n in before:
            for i, j in taps:
                line = r * kernel.stride[0] + i * kernel.dilation[0]
                place = n * kernel.stride[1] + j * kernel.dilation[1]
                readers.setdefault((line, place), []).append((r, n, i, j))
        sums = dict(before)
        for line, place in sorted(readers):
            offset = line * kernel.source.row_stride + place * kernel.source.pixel_stride
            value = v.load(self.source, origin + offset)
            for r, n, i, j in readers[line, place]:
                sums[r, n] = T.bind(sums[r, n] + value * taps[i, j])
        return sums
