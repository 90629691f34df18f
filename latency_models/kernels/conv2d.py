"""Convolution of real maps with real weights: any groups, stride, kernel, dilation.

While one block of large weights is at work, the next is prefetched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import Expr, T
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
LINE = 16  # float32 numbers of a cache line
ADD_LATENCY = 4  # cycles until a fused multiply-add can be added to
# LLVM unrolls two steps of a tile of one vector, of which the sums of more than seven pixels no
# longer fit in 16 registers: they go to the stack and back. Cycles as timed on a Zen 3.
FEW_REGISTERS = 16
MOST_UNROLLED = 7
SPILLED = 1.2


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
        return [ConvTile(*shape, outside) for shape in self.tiles(unit, room)]

    def tile_cycles(self, unit: VectorUnit, tile: ConvTile) -> Callable[[int, int], float]:
        window, lanes = self.window, unit.lanes
        near_load, far_load = (0.5, 2.5) if unit.registers > FEW_REGISTERS else (1.0, 1.5)

        def cycles(pixels: int, size: int) -> float:
            near = window * size * lanes * 4 <= FAST_CACHE
            load = 0.5 * pixels + size * (near_load if near else far_load)
            step = max(pixels * size / 2, load, ADD_LATENCY)
            if unit.registers <= FEW_REGISTERS and size == 1 and pixels > MOST_UNROLLED:
                step = SPILLED * pixels
            return step * window + (2 * pixels * size + 15)

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

    def next_block(self, packed: Expr, at: RegisterTile) -> Expr | None:
        """Where the first tiles of a block find lines of the next block's weights to ask for."""
        kernel, lanes = self.kernel, self.unit.lanes
        height, width = kernel.map_size
        if not self.tile.blocks_outside or len(at.pixels) == height * width:
            return None
        part = T.min((at.y * width + at.x) // len(at.pixels), T.int32(at.size - 1))
        return T.bind(packed + (at.size * lanes + part * LINE) * kernel.window)
