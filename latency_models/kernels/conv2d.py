"""Convolution of real maps with real weights: any groups, stride, kernel, dilation.

While one block of large weights is at work, the next is prefetched.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import Buffer, Expr, T, for_parts, split_evenly
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.convolution import (
    Convolution,
    ConvolutionEmission,
    ConvTile,
    RegisterTile,
)

Array = NDArray[np.float32]
WEIGHTS_IN_CACHE = 1 << 19  # bytes of weights that may be read once for each tile of pixels
FAST_CACHE = 24 << 10  # bytes of the first-level cache that a block's weights may take
PART_CHANNELS = 128  # input channels whose weights are at work at a time, where they wait
PART_VECTORS = (2, 3, 4)
SUMS_BYTES = 8 << 10  # of sums that wait in memory
LINE = 16  # float32 numbers of a cache line
ADD_LATENCY = 4  # cycles until a fused multiply-add can be added to
# Sixteen registers: cycles as timed on a Zen 3, where units of 32 were timed on AVX512.
# LLVM unrolls two steps of a tile of one vector, of which the sums of more than seven pixels no
# longer fit: they go to the stack and back.
MOST_UNROLLED = 7
SPILLED = 1.2


def has_few_registers(unit: VectorUnit) -> bool:
    """Whether a unit is counted as AVX2 was timed; SSE, of as many registers, was not."""
    return unit.registers == 16 and unit.lanes == 8


@dataclass(frozen=True, slots=True)
class Conv2dKernel(Convolution):
    """A convolution of real maps with real weights, the bias among the weights."""

    cost_of_bodies: ClassVar[float] = 0.03

    def instruction(self, unit: VectorUnit) -> str:
        return "fma"

    @property
    def window(self) -> int:
        """Multiply-adds of one output number."""
        return self.kernel_size[0] * self.kernel_size[1] * self.in_channels

    def pack(self, weight: Array, bias: Array, unit: VectorUnit, tile: ConvTile) -> Array:
        """Returns what the kernel reads for weight (O, I / groups, kh, kw) and bias (O,), flat.

        First the biases, then the weights in the order (group, block, kh, kw, I, vector, lane).
        """
        biases = np.zeros(self.padded_channels(unit))
        biases[self.places(unit)] = bias
        runs = self.blocks(self.grouped(weight, unit), unit, tile)  # n v V I kh kw
        parts = [run.transpose(0, 4, 5, 3, 1, 2).ravel() for run in runs]
        return np.concatenate([biases, *parts]).astype(np.float32)

    def function(self, unit: VectorUnit, tile: ConvTile) -> Any:  # noqa: ANN401
        return RealConvEmission(self, unit, tile).function()

    def conv_tiles(self, unit: VectorUnit) -> list[ConvTile]:
        room = unit.registers - (6 if unit.registers > 16 else 2)
        outside = 4 * self.window * self.padded_channels(unit) // self.groups > WEIGHTS_IN_CACHE
        shapes = self.tiles(unit, room)
        whole = [ConvTile(*shape, outside) for shape in shapes]
        if not outside or self.in_channels < PART_CHANNELS:
            return whole
        large = (shape for shape in shapes if shape[0] == 1 and shape[2] in PART_VECTORS)
        return whole + [
            ConvTile(*shape, True, PART_CHANNELS)
            for shape in large
            if 2 * shape[1] * shape[2] >= unit.registers
        ]

    def tile_cycles(self, unit: VectorUnit, tile: ConvTile) -> Callable[[int, int], float]:
        window, lanes = self.window, unit.lanes
        few = has_few_registers(unit)
        near_load, far_load = (1.0, 1.5) if few else (0.5, 2.5)
        parts = window // self.in_channels * -(-self.in_channels // (tile.channels or window))

        def cycles(pixels: int, size: int) -> float:
            near = window * size * lanes * 4 <= FAST_CACHE or (few and tile.channels > 0)
            load = 0.5 * pixels + size * (near_load if near else far_load)
            step = max(pixels * size / 2, load, ADD_LATENCY)
            if few:
                step += 0.5
            if few and size == 1 and pixels > MOST_UNROLLED:
                step = SPILLED * pixels
            waiting = parts * (pixels * size + 10) if tile.channels else 0
            return step * window + waiting + (2 * pixels * size + 15)

        return cycles


class RealConvEmission(ConvolutionEmission):
    """One convolution being written."""

    kernel: Conv2dKernel

    def sum_up(self, at: RegisterTile) -> None:
        kernel, v, source = self.kernel, self.vectors, self.kernel.source
        size, lanes = at.size, self.unit.lanes
        per_group = kernel.num_vectors(self.unit) * lanes
        for j in range(size):
            bias = v.load(self.weights, at.group * per_group + (at.first + j) * lanes)
            for registers in at.sums:
                v.put(registers[j], bias)
        block = (at.group * per_group + at.first * lanes) * kernel.window
        packed = T.bind(kernel.padded_channels(self.unit) + block)
        ahead = self.next_block(packed, at)
        origin = T.bind(self.origin(at))
        height, width = kernel.kernel_size
        row_step, column_step = self.window_steps()
        offsets = self.pixel_offsets(at)
        with T.grid(height, width, kernel.in_channels) as (i, j, c):
            where = T.bind(((i * width + j) * kernel.in_channels + c) * (size * lanes) + packed)
            taps = [v.load(self.weights, where + k * lanes) for k in range(size)]
            start = T.bind(origin + i * row_step + j * column_step + c * source.channel_stride)
            if ahead is not None:
                v.prefetch(self.weights, ahead + ((i * width + j) * kernel.in_channels + c) * LINE)
            for offset, registers in zip(offsets, at.sums, strict=True):
                number = v.load_spread(self.source, start + offset)
                for register, tap in zip(registers, taps, strict=True):
                    v.put(register, v.get(register) + number * tap)

    def in_parts(self, group: Expr, first: Expr, size: int) -> None:
        """A block of which a few input channels are at work at a time, their weights in the
        nearest cache; sums of a strip of pixels wait in memory, added to in the same order."""
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
        padded = (group * kernel.num_vectors(self.unit) + first) * lanes

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
        packed = T.bind(kernel.padded_channels(self.unit) + padded * kernel.window)
        with T.grid(height, width, parts) as (i, j, k):
            begin = T.bind(k * self.tile.channels)
            count = T.bind(T.min(T.int32(self.tile.channels), kernel.in_channels - begin))

            def add(at: RegisterTile, start: Expr) -> None:
                for register, place in each(at, start):
                    v.put(register, v.load(waiting, place))
                with T.serial(count) as c:
                    self.add_step(at, packed, i, j, begin + c)
                for register, place in each(at, start):
                    v.store(waiting, place, v.get(register))

            tiles(add)

        def end(at: RegisterTile, start: Expr) -> None:
            for register, place in each(at, start):
                v.put(register, v.load(waiting, place))
            self.finish(at)

        tiles(end)

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
        return T.bind(packed + (at.size * lanes + part * LINE) * kernel.window)
