"""Convolution of real maps with real weights: any groups, stride, kernel, dilation.

While one block of large weights is at work, the next is prefetched.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import Buffer, Expr, T, split_evenly
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.convolution import (
    Convolution,
    ConvolutionEmission,
    ConvTile,
    cheapest,
)

Array = NDArray[np.float32]
WEIGHTS_IN_CACHE = 1 << 19  # bytes of weights that may be read once for each tile of pixels
FAST_CACHE = 24 << 10  # bytes of the first-level cache that a block's weights may take
LINE = 16  # float32 numbers of a cache line
COST_OF_BODIES = 0.03  # each tile size of a kernel is compiled code of its own
ADD_LATENCY = 4  # cycles until a fused multiply-add can be added to


@dataclass(frozen=True, slots=True)
class Conv2dKernel(Convolution):
    """A convolution of real maps with real weights, the bias among the weights."""

    def instruction(self, unit: VectorUnit) -> str:
        """What does the work: the name of one of the unit's instructions, or nothing."""
        return "fma"

    @property
    def window(self) -> int:
        """Multiply-adds of one output number."""
        return self.kernel_size[0] * self.kernel_size[1] * self.in_channels

    def pack(self, weight: Array, bias: Array, unit: VectorUnit, tile: ConvTile) -> Array:
        """Returns weight (O, I / groups, kh, kw) and bias (O,) as the tile reads them, flat."""
        biases = np.zeros(self.padded_channels(unit))
        biases[self.places(unit)] = bias
        return np.concatenate([biases, pack_blocks(self, weight, unit, tile)]).astype(np.float32)

    def function(self, unit: VectorUnit, tile: ConvTile) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        return _Emission(self, unit, tile).function()

    def default_tile(self, unit: VectorUnit) -> ConvTile:
        """Returns the tile that a simple count of cycles likes best."""
        return cheapest(self.conv_tiles(unit), lambda tile: estimated_cycles(self, unit, tile))

    def candidate_tiles(self, unit: VectorUnit, limit: int) -> tuple[ConvTile, ...]:
        """Returns the ``limit`` tiles that are worth timing, the default one first."""
        ranked = sorted(
            self.conv_tiles(unit), key=lambda tile: (estimated_cycles(self, unit, tile), str(tile))
        )
        other_order = ConvTile(
            ranked[0].rows, ranked[0].columns, ranked[0].vectors, not ranked[0].blocks_outside
        )
        return tuple(dict.fromkeys((ranked[0], other_order, *ranked)))[:limit]

    def conv_tiles(self, unit: VectorUnit) -> list[ConvTile]:
        room = unit.registers - (6 if unit.registers > 16 else 2)
        outside = 4 * self.window * self.padded_channels(unit) // self.groups > WEIGHTS_IN_CACHE
        return [ConvTile(*shape, outside) for shape in self.tiles(unit, room)]


def pack_blocks(
    kernel: Convolution, weight: NDArray[Any], unit: VectorUnit, tile: ConvTile
) -> NDArray[Any]:
    """Returns weights in the order (group, block, kh, kw, I, vector, lane), flat."""
    parts = []
    for group in kernel.grouped(weight, unit):
        for first, count, size in split_evenly(kernel.num_vectors(unit), tile.vectors):
            blocks = group[first : first + count * size]
            blocks = blocks.reshape(count, size, *blocks.shape[1:])
            parts.append(blocks.transpose(0, 4, 5, 3, 1, 2).ravel())
    return np.concatenate(parts)


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


class _Emission(ConvolutionEmission):
    """One convolution being written."""

    kernel: Conv2dKernel

    def sum_up(
        self,
        sums: list[list[Buffer]],
        pixels: list[tuple[int, int]],
        group: Expr,
        first: Expr,
        y: Expr,
        x: Expr,
    ) -> None:
        kernel, v, source = self.kernel, self.vectors, self.kernel.source
        size, lanes = len(sums[0]), self.unit.lanes
        per_group = kernel.num_vectors(self.unit) * lanes
        for j in range(size):
            bias = v.load(self.weights, group * per_group + (first + j) * lanes)
            for registers in sums:
                v.put(registers[j], bias)
        block = (group * per_group + first * lanes) * kernel.window
        packed = T.bind(kernel.padded_channels(self.unit) + block)
        ahead = self.next_block(packed, len(pixels), size, y, x)
        origin = T.bind(self.origin(group, y, x))
        height, width = kernel.kernel_size
        row_step = kernel.dilation[0] * source.row_stride
        column_step = kernel.dilation[1] * source.pixel_stride
        offsets = self.pixel_offsets(pixels)
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

    def next_block(
        self, packed: Expr, num_pixels: int, size: int, y: Expr, x: Expr
    ) -> Expr | None:
        """Where the first tiles of a block find lines of the next block's weights to ask for."""
        kernel, lanes = self.kernel, self.unit.lanes
        height, width = kernel.map_size
        if not self.tile.blocks_outside or num_pixels == height * width:
            return None
        part = T.min((y * width + x) // num_pixels, T.int32(size - 1))
        return T.bind(packed + (size * lanes + part * LINE) * kernel.window)
