"""Code of convolutions of real numbers: all of the window at once, or a part of it at a time.

While one block of large weights is at work, the next is prefetched.
"""

from collections.abc import Callable, Iterator
from math import prod

from latency_models.codegen.emitter import Buffer, Expr, T, for_parts, split_evenly
from latency_models.kernels.convolution import Convolution, ConvolutionEmission, RegisterTile

SUMS_BYTES = 8 << 10  # of sums that wait in memory
LINE = 16  # float32 numbers of a cache line


def window_of(kernel: Convolution) -> int:
    """Multiply-adds of one output number."""
    return prod(kernel.kernel_size) * kernel.in_channels


class RealConvEmission(ConvolutionEmission):
    """A convolution of real numbers being written."""

    def sum_up(self, at: RegisterTile) -> None:
        kernel, v, lanes = self.kernel, self.vectors, self.unit.lanes
        first = T.bind((at.group * kernel.num_vectors(self.unit) + at.first) * lanes)
        for j in range(at.size):
            bias = v.load(self.weights, first + j * lanes)
            for registers in at.sums:
                v.put(registers[j], bias)
        packed = self.packed(first)
        ahead = self.next_block(packed, at)
        height, width = kernel.kernel_size
        with T.grid(height, width, kernel.in_channels) as (i, j, c):
            place = (i * width + j) * kernel.in_channels + c
            self.add_step(at, packed, i, j, c)
            if ahead is not None:
                v.prefetch(self.weights, ahead + place * LINE)

    def packed(self, first: Expr) -> Expr:
        """Where the weights of the block begin that has this first one of the padded channels."""
        kernel = self.kernel
        return T.bind(kernel.padded_channels(self.unit) + first * window_of(kernel))

    def add_step(self, at: RegisterTile, packed: Expr, i: Expr, j: Expr, c: Expr) -> None:
        """Adds the products of one number of each pixel's window."""
        kernel, v, size, lanes = self.kernel, self.vectors, at.size, self.unit.lanes
        width = kernel.kernel_size[1]
        row_step, column_step = self.window_steps()
        where = T.bind(((i * width + j) * kernel.in_channels + c) * (size * lanes) + packed)
        taps = [v.load(self.weights, where + k * lanes) for k in range(size)]
        step = i * row_step + j * column_step + c * kernel.source.channel_stride
        start = T.bind(self.origin(at) + step)
        for offset, registers in zip(self.pixel_offsets(at), at.sums, strict=True):
            number = v.load_spread(self.source, start + offset)
            for register, tap in zip(registers, taps, strict=True):
                v.put(register, v.get(register) + number * tap)

    def next_block(self, packed: Expr, at: RegisterTile) -> Expr | None:
        """Where the first tiles of a block find lines of the next block's weights to ask for."""
        kernel, lanes = self.kernel, self.unit.lanes
        height, width = kernel.map_size
        if not self.tile.blocks_outside or len(at.pixels) == height * width:
            return None
        part = T.min((at.y * width + at.x) // len(at.pixels), T.int32(at.size - 1))
        return T.bind(packed + (at.size * lanes + part * LINE) * window_of(kernel))


class ConvInParts(RealConvEmission):
    """A convolution of which a few input channels are at work at a time.

    Their weights stay in the nearest cache; the sums of a strip of pixels wait in memory, and are
    added to in the same order as without parts.
    """

    def in_group(self, group: Expr) -> None:
        for_parts(self.blocks, lambda first, size, _: self.block_in_parts(group, first, size))

    def block_in_parts(self, group: Expr, first: Expr, size: int) -> None:
        """One block of vectors, for one strip of pixels after another."""
        height, width = self.kernel.map_size
        at_once = SUMS_BYTES // (4 * size * self.unit.lanes)
        in_rows = height > 1
        if in_rows:
            strips = split_evenly(height, max(self.tile.rows, at_once // width))
        else:
            strips = split_evenly(width, max(self.tile.columns, at_once))
        longest = max(count for _, _, count in strips) * (width if in_rows else 1)
        waiting = T.alloc_buffer((longest * size * self.unit.lanes,), "float32", scope="local")

        def strip(start: Expr, count: int, _: Expr) -> None:
            rows, columns = (count, width) if in_rows else (1, count)
            top, left = (start, T.int32(0)) if in_rows else (T.int32(0), start)
            self.strip(waiting, (group, first, size), (top, rows, left, columns))

        for_parts(strips, strip)

    def strip(
        self, waiting: Buffer, block: tuple[Expr, Expr, int], part: tuple[Expr, int, Expr, int]
    ) -> None:
        """The pixels of some rows and columns of the map, for a block of vectors."""
        kernel, v, lanes = self.kernel, self.vectors, self.unit.lanes
        (group, first, size), (top, rows, left, columns) = block, part
        padded = T.bind((group * kernel.num_vectors(self.unit) + first) * lanes)

        def tiles(body: Callable[[RegisterTile, Expr], None]) -> None:
            """Calls ``body`` with each register tile, and where its first sum waits."""
            for_parts(
                split_evenly(rows, self.tile.rows),
                lambda y, height, _: for_parts(
                    split_evenly(columns, self.tile.columns),
                    lambda x, width, _: body(
                        self.register_tile(group, first, size, top + y, height, left + x, width),
                        T.bind((y * columns + x) * (size * lanes)),
                    ),
                ),
            )

        def each(at: RegisterTile, start: Expr) -> Iterator[tuple[Buffer, Expr]]:
            for (row, column), registers in zip(at.pixels, at.sums, strict=True):
                for j, register in enumerate(registers):
                    yield register, start + ((row * columns + column) * size + j) * lanes

        with T.serial(rows * columns) as pixel:
            for j in range(size):
                bias = v.load(self.weights, padded + j * lanes)
                v.store(waiting, (pixel * size + j) * lanes, bias)
        height, width = kernel.kernel_size
        parts = -(-kernel.in_channels // self.tile.channels)
        packed, lines = self.packed(padded), max(1, size * lanes // LINE)
        with T.grid(height, width, parts) as (i, j, k):
            begin = T.bind(k * self.tile.channels)
            count = T.bind(T.min(T.int32(self.tile.channels), kernel.in_channels - begin))

            def add(at: RegisterTile, start: Expr) -> None:
                for register, place in each(at, start):
                    v.put(register, v.load(waiting, place))
                following = (i * width + j) * kernel.in_channels + begin + count
                line = T.min(start // (size * lanes * len(at.pixels)), T.int32(lines - 1))
                ahead = T.bind(packed + following * (size * lanes) + line * LINE)
                with T.serial(count) as c:
                    self.add_step(at, packed, i, j, begin + c)
                    v.prefetch(self.weights, ahead + c * (size * lanes))
                for register, place in each(at, start):
                    v.store(waiting, place, v.get(register))

            tiles(add)

        def end(at: RegisterTile, start: Expr) -> None:
            for register, place in each(at, start):
                v.put(register, v.load(waiting, place))
            self.finish(at)

        tiles(end)
