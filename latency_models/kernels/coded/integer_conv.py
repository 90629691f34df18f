"""Convolution of maps of codes with weights of 8 or 4 bits: exact int32 sums.

The instruction decides how four channels at a time are multiplied (``dot``). What the code of zero
and the instruction add to a sum depends on the weights alone, so sums start at minus that.

Where the windows' rows are adjacent bytes, a kernel's columns and channels are one run, of which
only the end is filled up with weights of zero to a whole step.

Letters: V lanes, R runs (rows of the window, or its pixels), S steps of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.dot import STEP, Dot, dot_kind, instruction
from latency_models.codegen.emitter import Buffer, Expr, T
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.convolution import (
    Convolution,
    ConvolutionEmission,
    ConvTile,
    RegisterTile,
)
from latency_models.kernels.kernel import TiledKernel

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int8]
WEIGHTS_IN_CACHE = 1 << 19  # bytes of weights that may be read once for each tile of pixels
LINE = 64  # bytes of a cache line
FAST_CACHE = 24 << 10  # bytes of the first-level cache that a block's weights may take
ADD_LATENCY = 10  # cycles until a sum can be added to, times the additions of one cycle


@dataclass(frozen=True, slots=True)
class IntegerConvKernel(Convolution):
    """A convolution of codes with coded weights; its epilogue scales int32 sums.

    A few bytes after a pixel's channels are read, and multiplied by zero.

    Attributes:
        weight_bits: 8, or 4 for weights that lie two in a byte.
    """

    weight_bits: int = 8

    weights_type: ClassVar[str] = "uint8"
    cost_of_bodies: ClassVar[float] = 0.005

    def __post_init__(self) -> None:
        TiledKernel.__post_init__(self)
        assert self.source.form.kind == "codes", self
        assert self.epilogue.scaled, self
        assert self.weight_bits in (4, 8), self

    def instruction(self, unit: VectorUnit) -> str:
        return instruction(unit)

    @property
    def runs(self) -> tuple[int, int, int]:
        """Rows and columns of runs of a window, and the bytes of one."""
        height, width = self.kernel_size
        run = (width - 1) * self.source.pixel_stride + self.in_channels
        adjacent = self.groups == 1 and self.dilation[1] == 1
        if adjacent and -(-run // STEP) <= width * -(-self.in_channels // STEP):
            return height, 1, run
        return height, width, self.in_channels

    @property
    def steps(self) -> int:
        """Steps of a run."""
        return -(-self.runs[2] // STEP)

    @property
    def stored_steps(self) -> int:
        """Steps of which a run's weights are stored: 4-bit ones in pairs."""
        return self.steps if self.weight_bits == 8 else self.steps + self.steps % 2

    @property
    def block_bytes(self) -> int:
        """Bytes of weights of one lane."""
        rows, columns, _ = self.runs
        return rows * columns * self.stored_steps * STEP * self.weight_bits // 8

    def pack(self, codes: Codes, unit: VectorUnit, tile: ConvTile) -> Bytes:
        """Returns what the kernel reads for weights (O, I / groups, kh, kw), flat.

        First the int32 that each sum starts at, then the weights in the order (group, block, run,
        step, vector, lane, 4).
        """
        kind = self.dot(unit)
        starts = np.zeros(self.padded_channels(unit), np.int64)
        sums = codes.astype(np.int64).reshape(len(codes), -1).sum(1)
        starts[self.places(unit)] = (kind.bias - self.source.form.zero) * sums
        parts: list[Bytes] = [(starts << self.shift(unit)).astype(np.int32).view(np.uint8)]
        order = (0, 3, 4, 1, 2, 5) if kind.lane_first else (0, 3, 4, 1, 5, 2)
        runs = self.blocks(self.run_weights(self.grouped(codes, unit)), unit, tile)  # n v V R S 4
        return np.concatenate([*parts, *(self.in_bytes(run.transpose(order)) for run in runs)])

    def run_weights(self, grouped: Codes) -> Codes:
        """Weights (groups, vectors, V, I, kh, kw) as (groups, vectors, V, R, S, 4)."""
        rows, columns, _ = self.runs
        taps = np.moveaxis(grouped, 3, 5)
        before, (height, width) = taps.shape[:3], self.kernel_size
        stride = self.source.pixel_stride if columns < width else self.in_channels
        wide = np.zeros((*before, height, width, max(stride, self.in_channels)), np.int8)
        wide[..., : self.in_channels] = taps
        runs = wide.reshape(*before, rows * columns, -1)
        weights = np.zeros((*before, rows * columns, self.stored_steps * STEP), np.int8)
        length = min(runs.shape[-1], weights.shape[-1])
        weights[..., :length] = runs[..., :length]
        return weights.reshape(*before, rows * columns, self.stored_steps, STEP)

    def in_bytes(self, weights: Codes) -> Bytes:
        """Weights (n, R, S, ...) as flat bytes; 4-bit ones of two steps in one byte."""
        if self.weight_bits == 8:
            return weights.ravel().view(np.uint8)
        low, high = weights[:, :, ::2].ravel(), weights[:, :, 1::2].ravel()
        return (low & 15).view(np.uint8) | ((high & 15) << 4).view(np.uint8)

    def shift(self, unit: VectorUnit) -> int:
        """How many bits to the left sums come out."""
        return self.dot(unit).shift if self.weight_bits == 4 else 0

    def dot(self, unit: VectorUnit) -> type[Dot]:
        """What sums the products."""
        terms = self.in_channels * self.kernel_size[0] * self.kernel_size[1]
        return dot_kind(unit, 8 * self.source.form.highest * terms if self.weight_bits == 4 else 0)

    def function(self, unit: VectorUnit, tile: ConvTile) -> Any:  # noqa: ANN401
        return IntegerConvEmission(self, unit, tile).function()

    def conv_tiles(self, unit: VectorUnit) -> list[ConvTile]:
        kind = self.dot(unit)
        halves = 2 if self.weight_bits == 4 else 1
        room = unit.registers - 2 * kind.registers - halves + 1
        outside = self.block_bytes * self.padded_channels(unit) > WEIGHTS_IN_CACHE * self.groups
        shapes = [
            shape
            for shape in self.tiles(unit, room)
            if shape[2] * (shape[0] * shape[1] + kind.registers * halves) <= room
        ]
        return [ConvTile(*shape, outside) for shape in shapes or [(1, 1, 1)]]

    def tile_cycles(self, unit: VectorUnit, tile: ConvTile) -> Callable[[int, int], float]:
        """Returns what counts the cycles of one register tile of so many pixels and vectors.

        A processor that looks far ahead ends one tile while it begins the next, unless that is
        large.
        """
        kind = self.dot(unit)
        steps = self.runs[0] * self.runs[1] * self.steps
        lane_bytes = self.block_bytes * unit.lanes

        def cycles(pixels: int, size: int) -> float:
            sums, operands = pixels * size, pixels + size
            near = lane_bytes * size <= FAST_CACHE
            step = max(sums * kind.cycles + operands * (kind.unpack_cycles + 0.2), ADD_LATENCY)
            step += 0 if near else size / 4
            return step * steps + (4 + sums / 2) * sums

        return cycles


class IntegerConvEmission(ConvolutionEmission):
    """One convolution being written."""

    kernel: IntegerConvKernel
    sum_kind = "int32"

    def __init__(self, kernel: IntegerConvKernel, unit: VectorUnit, tile: ConvTile) -> None:
        super().__init__(kernel, unit, tile)
        self.dot = kernel.dot(unit)(self.vectors)

    def sum_up(self, at: RegisterTile) -> None:
        kernel, v, lanes = self.kernel, self.vectors, self.unit.lanes
        size = at.size
        padded = T.bind((at.group * kernel.num_vectors(self.unit) + at.first) * lanes)
        for j in range(size):
            packed = self.weights[T.ramp((padded + j * lanes) * 4, 1, 4 * lanes)]
            start = T.bind(T.reinterpret(f"int32x{lanes}", packed))
            for registers in at.sums:
                v.put(registers[j], start)
        block = T.bind(4 * kernel.padded_channels(self.unit) + padded * kernel.block_bytes)
        origin = T.bind(self.origin(at))
        offsets = self.pixel_offsets(at)
        rows, columns, _ = kernel.runs
        row_step, column_step = self.window_steps()
        whole, rest = divmod(kernel.steps, 8 // kernel.weight_bits)
        vector = self.dot.bytes * size

        def run(i: Expr, j: Expr) -> tuple[Expr, Expr]:
            stored = kernel.stored_steps * kernel.weight_bits // 8
            return (
                origin + i * row_step + j * column_step,
                block + (i * columns + j) * (stored * vector),
            )

        ahead = self.next_block(block, at)
        if whole:
            with T.grid(rows, columns, whole) as (i, j, step):
                codes, weights = run(i, j)
                start = T.bind(codes + step * (STEP * 8 // kernel.weight_bits))
                where = T.bind(weights + step * vector)
                if ahead is not None:
                    done = (i * columns + j) * whole + step
                    v.prefetch(self.weights, ahead + done * LINE)
                self.steps(at.sums, start, where, offsets, 8 // kernel.weight_bits)
        if rest:
            with T.grid(rows, columns) as (i, j):
                codes, weights = run(i, j)
                start = T.bind(codes + whole * 2 * STEP)
                self.steps(at.sums, start, T.bind(weights + whole * vector), offsets, 1)
        shift = kernel.shift(self.unit)
        if shift:
            for register in at.registers:
                v.put(register, T.shift_right(v.get(register), self.dot.words(shift)))

    def steps(
        self, sums: list[list[Buffer]], at: Expr, where: Expr, offsets: list[int], count: int
    ) -> None:
        """Adds one step, or the two whose weights share bytes."""
        v, dot, size = self.vectors, self.dot, len(sums[0])
        loaded = [dot.load(self.weights, where + k * dot.bytes) for k in range(size)]
        if self.kernel.weight_bits == 8:
            taps = [[dot.weights(packed) for packed in loaded]]
        else:
            halves = [dot.halves(packed) for packed in loaded]
            taps = [[half[k] for half in halves] for k in range(count)]
        for step, each in enumerate(taps):
            for offset, registers in zip(offsets, sums, strict=True):
                codes = dot.spread(self.source, at + offset + step * STEP)
                for register, tap in zip(registers, each, strict=True):
                    v.put(register, dot.add(v.get(register), codes, tap))

    def next_block(self, block: Expr, at: RegisterTile) -> Expr | None:
        """Where the first tiles of a block find lines of the next block's weights to ask for."""
        kernel = self.kernel
        height, width = kernel.map_size
        if not self.tile.blocks_outside or len(at.pixels) == height * width:
            return None
        rows, columns, _ = kernel.runs
        lines = rows * columns * (kernel.steps // (8 // kernel.weight_bits))
        part = T.min((at.y * width + at.x) // len(at.pixels), T.int32(at.size - 1))
        return T.bind(block + at.size * self.unit.lanes * kernel.block_bytes + part * lines * LINE)
