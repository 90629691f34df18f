"""Convolution with bias, residual sum and activation: any groups, stride, kernel, dilation.

One tile of rows x columns pixels by a few vectors of output channels stays in registers while the
loops run over the kernel window and the input channels. Weights are packed in the order in which
the tile reads them, output channels padded with zeros to whole vectors. While one block of large
weights is at work, the next is prefetched. A fully connected layer is the convolution whose window
is the whole map.

Letters: V lanes; a block is the vectors of output channels of one tile.
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
class ConvTile:
    """How a convolution is cut.

    Attributes:
        rows: Output rows of a register tile, at most.
        columns: Output columns of a register tile, at most.
        vectors: Vectors of output channels of a register tile, at most.
        blocks_outside: Whether the loop over blocks is around the loop over pixels: a block's
            weights then stay in the cache, otherwise the tile's pixels do.
    """

    rows: int
    columns: int
    vectors: int
    blocks_outside: bool

    def __str__(self) -> str:
        order = "b" if self.blocks_outside else "p"
        return f"{self.rows}x{self.columns}x{self.vectors}{order}"


@dataclass(frozen=True, slots=True)
class Conv2dKernel:
    """A convolution between two views.

    Attributes:
        residual: A map of the target's shape, added before the activation.
    """

    source: View
    target: View
    kernel_size: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    groups: int = 1
    activation: Activation = "none"
    residual: View | None = None

    def __post_init__(self) -> None:
        assert not self.target.planar
        assert max(self.padding) <= self.source.halo or self.padding == (0, 0), self

    @property
    def arguments(self) -> tuple[str, ...]:
        residual = ("residual",) if self.residual else ()
        return ("source", "weights", *residual, "target")

    @property
    def in_channels(self) -> int:
        """Input channels of one group."""
        return self.source.channels // self.groups

    @property
    def out_channels(self) -> int:
        """Output channels of one group."""
        return self.target.channels // self.groups

    @property
    def window(self) -> int:
        """Multiply-adds of one output number."""
        return self.kernel_size[0] * self.kernel_size[1] * self.in_channels

    @property
    def map_size(self) -> Size:
        """Rows and columns to loop over; one long row where no row has a border."""
        views = [v for v in (self.source, self.target, self.residual) if v is not None]
        plain = self.kernel_size == (1, 1) and self.stride == (1, 1)
        if plain and all(view.halo == 0 for view in views):
            return 1, self.target.height * self.target.width
        return self.target.height, self.target.width

    def num_vectors(self, unit: VectorUnit) -> int:
        """Vectors of output channels of one group."""
        return -(-self.out_channels // unit.lanes)

    def pack(self, weight: Array, bias: Array, unit: VectorUnit, tile: ConvTile) -> Array:
        """Returns weight (O, I / groups, kh, kw) and bias (O,) as the tile reads them, flat."""
        vectors, lanes = self.num_vectors(unit), unit.lanes
        shape = (self.groups, vectors, lanes)
        padded = np.zeros((self.groups, vectors * lanes, self.in_channels, *self.kernel_size))
        padded[:, : self.out_channels] = weight.reshape(
            self.groups, self.out_channels, self.in_channels, *self.kernel_size
        )
        grouped = padded.reshape(*shape, self.in_channels, *self.kernel_size)
        biases = np.zeros((self.groups, vectors * lanes))
        biases[:, : self.out_channels] = bias.reshape(self.groups, self.out_channels)
        parts = [biases.ravel()]
        for group in grouped:
            for first, count, size in split_evenly(vectors, tile.vectors):
                blocks = group[first : first + count * size].reshape(
                    count, size, lanes, self.in_channels, *self.kernel_size
                )
                parts.append(blocks.transpose(0, 4, 5, 3, 1, 2).ravel())
        return np.concatenate(parts).astype(np.float32)

    def function(self, unit: VectorUnit, tile: ConvTile) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        return emit_function(self.arguments, _Emission(self, unit, tile).emit)

    def default_tile(self, unit: VectorUnit) -> ConvTile:
        """Returns the tile that a simple count of cycles likes best."""
        return min(self.tiles(unit), key=lambda tile: estimated_cycles(self, unit, tile))

    def candidate_tiles(self, unit: VectorUnit, limit: int) -> tuple[ConvTile, ...]:
        """Returns the ``limit`` tiles that are worth timing, the default one first."""
        ranked = sorted(self.tiles(unit), key=lambda tile: estimated_cycles(self, unit, tile))
        other_order = ConvTile(
            ranked[0].rows, ranked[0].columns, ranked[0].vectors, not ranked[0].blocks_outside
        )
        return tuple(dict.fromkeys((ranked[0], other_order, *ranked)))[:limit]

    def tiles(self, unit: VectorUnit) -> list[ConvTile]:
        height, width = self.map_size
        vectors = self.num_vectors(unit)
        room = unit.registers - (6 if unit.registers > 16 else 2)
        shapes = {
            (rows, min(columns, width), min(size, vectors))
            for rows in (1, 2, 3, 4)
            for columns in range(1, 29)
            for size in range(1, 9)
            if rows <= height and (rows == 1 or columns >= width)
            if rows * min(columns, width) * min(size, vectors) + min(size, vectors) <= room
        }
        weight_bytes = 4 * self.window * vectors * unit.lanes
        outside = weight_bytes > WEIGHTS_IN_CACHE
        return [ConvTile(*shape, outside) for shape in sorted(shapes)]


WEIGHTS_IN_CACHE = 1 << 19  # bytes of weights that may be read once for each tile of pixels
FAST_CACHE = 24 << 10  # bytes of the first-level cache that a block's weights may take
LINE = 16  # float32 numbers of a cache line
COST_OF_BODIES = 0.03  # each tile size of a kernel is compiled code of its own
ADD_LATENCY = 4  # cycles until a fused multiply-add can be added to


def estimated_cycles(kernel: Conv2dKernel, unit: VectorUnit, tile: ConvTile) -> float:
    """Returns a count of cycles to rank tiles by; it is no latency."""
    height, width = kernel.map_size
    cycles, bodies = 0.0, 0
    for _, rows_count, rows in split_evenly(height, tile.rows):
        for _, columns_count, columns in split_evenly(width, tile.columns):
            for _, blocks, size in split_evenly(kernel.num_vectors(unit), tile.vectors):
                pixels = rows * columns
                near = kernel.window * size * unit.lanes * 4 <= FAST_CACHE
                load = 0.5 * pixels + size * (0.5 if near else 2.5)
                step = max(pixels * size / 2, load, ADD_LATENCY)
                overhead = 2 * pixels * size + 15
                bodies += 1
                cycles += rows_count * columns_count * blocks * (step * kernel.window + overhead)
    return cycles * (1 + COST_OF_BODIES * bodies)


class _Emission:
    """One convolution being written."""

    def __init__(self, kernel: Conv2dKernel, unit: VectorUnit, tile: ConvTile) -> None:
        self.kernel, self.unit, self.tile = kernel, unit, tile
        self.vectors = Vectors(unit)
        lanes, vectors = unit.lanes, kernel.num_vectors(unit)
        self.group_weights = vectors * lanes * kernel.window
        self.all_biases = kernel.groups * vectors * lanes

    def emit(self, source: Buffer, weights: Buffer, *rest: Buffer) -> None:
        self.source, self.weights, self.target = source, weights, rest[-1]
        self.residual = rest[0]
        kernel, tile = self.kernel, self.tile
        height, width = kernel.map_size
        rows = split_evenly(height, tile.rows)
        columns = split_evenly(width, tile.columns)
        blocks = split_evenly(kernel.num_vectors(self.unit), tile.vectors)

        def pixels(inner: Any) -> None:  # noqa: ANN401
            for_parts(
                rows,
                lambda y, num_rows, _: for_parts(
                    columns, lambda x, num_columns, _: inner(y, num_rows, x, num_columns)
                ),
            )

        def in_group(group: Expr) -> None:
            if tile.blocks_outside:
                for_parts(
                    blocks,
                    lambda first, size, _: pixels(
                        lambda y, n, x, m: self.block(group, first, size, y, n, x, m)
                    ),
                )
            else:
                pixels(
                    lambda y, n, x, m: for_parts(
                        blocks, lambda first, size, _: self.block(group, first, size, y, n, x, m)
                    )
                )

        if kernel.groups == 1:
            in_group(T.int32(0))
        else:
            with T.serial(kernel.groups) as group:
                in_group(group)

    def block(
        self, group: Expr, first: Expr, size: int, y: Expr, rows: int, x: Expr, columns: int
    ) -> None:
        """One register tile: ``size`` vectors from ``first`` on, for rows x columns pixels."""
        kernel, v = self.kernel, self.vectors
        lanes = self.unit.lanes
        per_group = kernel.num_vectors(self.unit) * lanes
        pixels = [(row, column) for row in range(rows) for column in range(columns)]
        sums = [v.registers(size) for _ in pixels]
        for j in range(size):
            bias = v.load(self.weights, group * per_group + (first + j) * lanes)
            for registers in sums:
                v.put(registers[j], bias)
        packed = self.all_biases + group * self.group_weights + first * (lanes * kernel.window)
        packed, ahead = T.bind(packed), None
        if self.tile.blocks_outside and kernel.map_size != (rows, columns):
            # The first tiles of a block ask for the next block's weights, a line at each step.
            part = T.min((y * kernel.map_size[1] + x) // (rows * columns), T.int32(size - 1))
            ahead = T.bind(packed + (size * lanes + part * LINE) * kernel.window)
        self.accumulate(sums, pixels, packed, T.bind(self.origin(group, y, x)), ahead)
        channel = T.bind(group * kernel.out_channels + first * lanes)
        left = T.bind(kernel.out_channels - (first + size - 1) * lanes)
        ragged = kernel.out_channels % lanes != 0
        views = [view for view in (kernel.target, kernel.residual) if view is not None]
        starts = [T.bind(y * view.row_stride + x * view.pixel_stride + channel) for view in views]
        for (row, column), values in zip(pixels, sums, strict=True):
            for j in range(size):
                offsets = [
                    start + (row * view.row_stride + column * view.pixel_stride + j * lanes)
                    for start, view in zip(starts, views, strict=True)
                ]
                valid = left if ragged and j == size - 1 else None
                self.finish(v.get(values[j]), offsets, valid)

    def origin(self, group: Expr, y: Expr, x: Expr) -> Expr:
        """Offset in the source of the first number that the tile reads."""
        kernel, source = self.kernel, self.kernel.source
        top = y * (kernel.stride[0] * source.row_stride)
        left = x * (kernel.stride[1] * source.pixel_stride)
        padding = kernel.padding[0] * source.row_stride + kernel.padding[1] * source.pixel_stride
        return top + left - padding + group * (kernel.in_channels * source.channel_stride)

    def accumulate(
        self,
        sums: list[list[Buffer]],
        pixels: list[tuple[int, int]],
        packed: Expr,
        origin: Expr,
        ahead: Expr | None,
    ) -> None:
        kernel, v, source = self.kernel, self.vectors, self.kernel.source
        size = len(sums[0])
        lanes = self.unit.lanes
        height, width = kernel.kernel_size
        row_step = kernel.dilation[0] * source.row_stride
        column_step = kernel.dilation[1] * source.pixel_stride
        offsets = [
            row * kernel.stride[0] * source.row_stride
            + column * kernel.stride[1] * source.pixel_stride
            for row, column in pixels
        ]
        with T.grid(height, width, kernel.in_channels) as (i, j, c):
            where = T.bind(((i * width + j) * kernel.in_channels + c) * (size * lanes) + packed)
            taps = [v.load(self.weights, where + k * lanes) for k in range(size)]
            start = T.bind(origin + i * row_step + j * column_step + c * source.channel_stride)
            if ahead is not None:
                v.prefetch(self.weights, ahead + ((i * width + j) * kernel.in_channels + c) * LINE)
            for offset, registers in zip(offsets, sums, strict=True):
                number = v.load_spread(self.source, start + offset)
                for register, tap in zip(registers, taps, strict=True):
                    v.put(register, v.get(register) + number * tap)

    def finish(self, value: Expr, offsets: list[Expr], valid: Expr | None) -> None:
        """Residual, activation and store of one vector; ``offsets`` in the target and residual."""
        v = self.vectors
        if self.kernel.residual is not None:
            value = value + v.load(self.residual, offsets[1])
        v.store(self.target, offsets[0], v.activate(self.kernel.activation, value), valid)
