"""Convolutions, whatever their numbers: geometry, register tiles and the loops around them.

One tile of rows x columns pixels by a few vectors of output channels stays in registers while the
loops run over the kernel window and the input channels. Weights are packed in the order in which
the tile reads them, output channels padded to whole vectors. A fully connected layer is the
convolution whose window is the whole map.

Letters: V lanes; a block is the vectors of output channels of one tile.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

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

USUAL_VECTORS = 4  # tiles of more pay seldom


@dataclass(frozen=True, slots=True)
class ConvTile:
    """How a convolution is cut.

    Attributes:
        rows: Output rows of a register tile, at most.
        columns: Output columns of a register tile, at most.
        vectors: Vectors of output channels of a register tile, at most.
        blocks_outside: Whether the loop over blocks is around the loop over pixels: a block's
            weights then stay in the cache, otherwise the tile's pixels do.
        channels: Input channels whose weights are at work at a time, for some pixels: they then
            stay in the first-level cache, and sums wait in memory. 0 is all of the window.
    """

    rows: int
    columns: int
    vectors: int
    blocks_outside: bool
    channels: int = 0

    def __str__(self) -> str:
        order = "b" if self.blocks_outside else "p"
        part = f"/{self.channels}" if self.channels else ""
        return f"{self.rows}x{self.columns}x{self.vectors}{order}{part}"


@dataclass(frozen=True, slots=True)
class Convolution(TiledKernel[ConvTile]):
    """A convolution between two views, ended by an epilogue."""

    kernel_size: Size = (1, 1)
    groups: int = 1

    cost_of_bodies: ClassVar[float]  # each tile size of a kernel is compiled code of its own

    @property
    def in_channels(self) -> int:
        """Input channels of one group."""
        return self.source.channels // self.groups

    @property
    def out_channels(self) -> int:
        """Output channels of one group."""
        return self.target.channels // self.groups

    @property
    def map_size(self) -> Size:
        """Rows and columns to loop over; one long row where no row has a border."""
        views = (self.source, *self.epilogue.views)
        plain = self.kernel_size == (1, 1) and self.stride == (1, 1)
        if plain and all(view.halo == 0 for view in views):
            return 1, self.target.height * self.target.width
        return self.target.height, self.target.width

    def num_vectors(self, unit: VectorUnit) -> int:
        """Vectors of output channels of one group."""
        return -(-self.out_channels // unit.lanes)

    def padded_channels(self, unit: VectorUnit) -> int:
        """Output channels, each group rounded up to whole vectors."""
        return self.groups * self.num_vectors(unit) * unit.lanes

    def places(self, unit: VectorUnit) -> NDArray[np.intp]:
        """For each output channel, its place among the padded ones."""
        channels = np.arange(self.target.channels)
        group, inside = np.divmod(channels, self.out_channels)
        return group * (self.num_vectors(unit) * unit.lanes) + inside

    def grouped(self, weight: NDArray[Any], unit: VectorUnit) -> NDArray[Any]:
        """Weight (O, I / groups, kh, kw) as (groups, vectors, V, I / groups, kh, kw), padded."""
        vectors, lanes = self.num_vectors(unit), unit.lanes
        window = (self.in_channels, *self.kernel_size)
        padded = np.zeros((self.groups, vectors * lanes, *window), weight.dtype)
        padded[:, : self.out_channels] = weight.reshape(self.groups, self.out_channels, *window)
        return padded.reshape(self.groups, vectors, lanes, *window)

    def tiles(self, unit: VectorUnit, registers: int) -> list[tuple[int, int, int]]:
        """(rows, columns, vectors) of which sums and one block's weights fit in registers."""
        height, width = self.map_size
        vectors = self.num_vectors(unit)
        pixels = [(1, columns) for columns in range(1, min(28, width) + 1)]
        if width <= 28:  # several rows only where they are whole
            pixels += [(rows, width) for rows in range(2, min(4, height) + 1)]
        shapes = {
            (rows, columns, size)
            for rows, columns in pixels
            for size in range(1, min(8, vectors, registers // (rows * columns + 1)) + 1)
        }
        packed = any(view.form.kind == "planes" for view in self.epilogue.targets)
        if packed and unit.lanes < 8:
            shapes = {shape for shape in shapes if begins_even(vectors, shape[2])}
        return sorted(shapes)

    def blocks(
        self, grouped: NDArray[Any], unit: VectorUnit, tile: ConvTile
    ) -> Iterator[NDArray[Any]]:
        """Cuts (groups, vectors, ...) into runs of equal blocks: (n, vectors of one, ...)."""
        for group in grouped:
            for first, count, size in split_evenly(self.num_vectors(unit), tile.vectors):
                run = group[first : first + count * size]
                yield run.reshape(count, size, *run.shape[1:])

    @abstractmethod
    def conv_tiles(self, unit: VectorUnit) -> list[ConvTile]:
        """Returns every tile that fits in the registers."""

    @abstractmethod
    def tile_cycles(self, unit: VectorUnit, tile: ConvTile) -> Callable[[int, int], float]:
        """Returns what counts the cycles of one register tile of so many pixels and vectors."""

    def estimated_cycles(self, unit: VectorUnit, tile: ConvTile) -> float:
        """Returns a count of cycles of one group to rank tiles by; it is no latency."""
        height, width = self.map_size
        cycles_of = self.tile_cycles(unit, tile)
        cycles, bodies = 0.0, 0
        for _, rows_count, rows in split_evenly(height, tile.rows):
            for _, columns_count, columns in split_evenly(width, tile.columns):
                for _, blocks, size in split_evenly(self.num_vectors(unit), tile.vectors):
                    bodies += 1
                    each = cycles_of(rows * columns, size)
                    cycles += rows_count * columns_count * blocks * each
        return cycles * (1 + self.cost_of_bodies * bodies)

    def default_tile(self, unit: VectorUnit) -> ConvTile:
        """Returns the tile that a simple count of cycles likes best; of equals, by its text."""
        counts = [(self.estimated_cycles(unit, tile), tile) for tile in self.conv_tiles(unit)]
        least = min(count for count, _ in counts)
        return min((tile for count, tile in counts if count == least), key=str)

    def candidate_tiles(self, unit: VectorUnit, limit: int) -> tuple[ConvTile, ...]:
        ranked = sorted(
            self.conv_tiles(unit), key=lambda tile: (self.estimated_cycles(unit, tile), str(tile))
        )
        first = ranked[0]
        if first.channels:
            other = replace(first, channels=0)
        else:
            other = replace(first, blocks_outside=not first.blocks_outside)
        in_parts = [tile for tile in ranked if tile.channels][:1]
        # Where the count is wrong of a processor, it is so of a kind: the best of each is timed.
        best = {tile.vectors: tile for tile in reversed(ranked) if tile.vectors <= USUAL_VECTORS}
        kinds = sorted(best.values(), key=ranked.index)
        return tuple(dict.fromkeys((first, other, *in_parts, *kinds, *ranked)))[:limit]


def begins_even(vectors: int, largest: int) -> bool:
    """Whether blocks of at most ``largest`` vectors begin at even ones: two fill a byte."""
    return all(
        first % 2 == 0 and (count == 1 or size % 2 == 0)
        for first, count, size in split_evenly(vectors, largest)
    )


@dataclass(frozen=True, slots=True)
class RegisterTile:
    """Some pixels and a block of vectors of output channels, summed in registers.

    Attributes:
        sums: For each pixel, a register for each vector of the block, not yet set.
        pixels: (row, column) of each pixel, from the tile's corner (y, x).
        first: First vector of the block within its group.
    """

    sums: list[list[Buffer]]
    pixels: list[tuple[int, int]]
    group: Expr
    first: Expr
    y: Expr
    x: Expr

    @property
    def registers(self) -> Iterator[Buffer]:
        return (register for registers in self.sums for register in registers)

    @property
    def size(self) -> int:
        """Vectors of the block."""
        return len(self.sums[0])


class ConvolutionEmission:
    """A convolution being written; how sums are made is left to the kind of numbers."""

    sum_kind: ClassVar[str] = "float32"
    worth: int = 1  # power of two by which sums are yet to be multiplied

    def __init__(self, kernel: Convolution, unit: VectorUnit, tile: ConvTile) -> None:
        self.kernel, self.unit, self.tile = kernel, unit, tile
        self.vectors = Vectors(unit)

    def function(self) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of its arguments."""
        return emit_function(self.kernel.arguments, self.emit, types=self.kernel.types(self.unit))

    def emit(self, source: Buffer, weights: Buffer, *rest: Buffer) -> None:
        self.source, self.weights = source, weights
        kernel = self.kernel
        padded = kernel.padded_channels(self.unit)
        self.end = EpilogueEmission(kernel.epilogue, self.vectors, padded, rest, self.worth)
        if kernel.groups == 1:
            self.in_group(T.int32(0))
        else:
            with T.serial(kernel.groups) as group:
                self.in_group(group)

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """Runs of equal blocks of vectors, see ``split_evenly``."""
        return split_evenly(self.kernel.num_vectors(self.unit), self.tile.vectors)

    def in_group(self, group: Expr) -> None:
        """The loops over the blocks and pixels of one group."""
        height, width = self.kernel.map_size
        rows, columns = (
            split_evenly(height, self.tile.rows),
            split_evenly(width, self.tile.columns),
        )

        def pixels(inner: Any) -> None:  # noqa: ANN401
            for_parts(
                rows,
                lambda y, num_rows, _: for_parts(
                    columns, lambda x, num_columns, _: inner(y, num_rows, x, num_columns)
                ),
            )

        if self.tile.blocks_outside:
            for_parts(
                self.blocks,
                lambda first, size, _: pixels(
                    lambda y, n, x, m: self.block(group, first, size, y, n, x, m)
                ),
            )
        else:
            pixels(
                lambda y, n, x, m: for_parts(
                    self.blocks, lambda first, size, _: self.block(group, first, size, y, n, x, m)
                )
            )

    def block(
        self, group: Expr, first: Expr, size: int, y: Expr, rows: int, x: Expr, columns: int
    ) -> None:
        """One register tile: ``size`` vectors from ``first`` on, for rows x columns pixels."""
        at = self.register_tile(group, first, size, y, rows, x, columns)
        self.sum_up(at)
        self.finish(at)

    def register_tile(
        self, group: Expr, first: Expr, size: int, y: Expr, rows: int, x: Expr, columns: int
    ) -> RegisterTile:
        pixels = [(row, column) for row in range(rows) for column in range(columns)]
        sums = [self.vectors.registers(size, self.sum_kind) for _ in pixels]
        return RegisterTile(sums, pixels, group, first, y, x)

    def finish(self, at: RegisterTile) -> None:
        """Ends and writes the sums of a tile."""
        kernel, lanes = self.kernel, self.unit.lanes
        padded = T.bind((at.group * kernel.num_vectors(self.unit) + at.first) * lanes)
        channel = T.bind(at.group * kernel.out_channels + at.first * lanes)
        left = T.bind(kernel.out_channels - (at.first + at.size - 1) * lanes)
        valid = left if kernel.out_channels % lanes else None
        results = {
            pixel: [self.vectors.get(register) for register in registers]
            for pixel, registers in zip(at.pixels, at.sums, strict=True)
        }
        self.end.finish(at.y, at.x, results, channel, padded, valid)

    @abstractmethod
    def sum_up(self, at: RegisterTile) -> None:
        """Writes the code that computes the sums of one register tile."""

    def origin(self, at: RegisterTile) -> Expr:
        """Offset in the source of the first element that the tile reads, at channel 0 of a group.

        Packed groups begin at whole words.
        """
        kernel, source = self.kernel, self.kernel.source
        top = at.y * (kernel.stride[0] * source.row_stride)
        left = at.x * (kernel.stride[1] * source.pixel_stride)
        padding = kernel.padding[0] * source.row_stride + kernel.padding[1] * source.pixel_stride
        step = source.offset_of(kernel.in_channels) if kernel.groups > 1 else 0
        return top + left - padding + at.group * step

    def window_steps(self) -> tuple[int, int]:
        """Elements in the source from one row of the window to the next, and between columns."""
        (down, right), source = self.kernel.dilation, self.kernel.source
        return down * source.row_stride, right * source.pixel_stride

    def pixel_offsets(self, at: RegisterTile) -> list[int]:
        """Elements in the source from the tile's first pixel to each of its pixels."""
        stride, source = self.kernel.stride, self.kernel.source
        return [
            row * stride[0] * source.row_stride + column * stride[1] * source.pixel_stride
            for row, column in at.pixels
        ]
