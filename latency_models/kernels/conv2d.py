"""Convolution of real maps with real weights: any groups, stride, kernel, dilation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.conv2d_code import ConvInParts, RealConvEmission, window_of
from latency_models.kernels.convolution import Convolution, ConvTile

Array = NDArray[np.float32]
WEIGHTS_IN_CACHE = 1 << 19  # bytes of weights that may be read once for each tile of pixels
FAST_CACHE = 24 << 10  # bytes of the first-level cache that a block's weights may take
PART_CHANNELS = 128  # input channels whose weights are at work at a time, where they wait
PART_VECTORS = (2, 3, 4)
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
        return window_of(self)

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
        emission = ConvInParts if tile.channels else RealConvEmission
        return emission(self, unit, tile).function()

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
