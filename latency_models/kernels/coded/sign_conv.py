"""Convolution of real maps with weights of -1 and +1, kept in one bit each.

A word holds the signs of 32 input channels of one output channel, the first in its highest bit. A
vector of words is shifted by one bit for each input channel; what is then in the sign bits makes a
vector of -1.0 and +1.0, which all pixels of a tile multiply by. So the products are those of a
real convolution, and the weights take a 32nd of its memory.

*Source:* Rastegari et al., "XNOR-Net", ECCV 2016, https://arxiv.org/abs/1603.05279, section 3.1
(Binary-Weight-Networks).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import Buffer, Expr, T
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.convolution import (
    Convolution,
    ConvolutionEmission,
    ConvTile,
    RegisterTile,
)
from latency_models.kernels.kernel import TiledKernel
from latency_models.kernels.view import View
from search_spaces.graphs.formats import WORD

Codes = NDArray[np.int8]
WEIGHTS_IN_CACHE = 1 << 18  # bytes of weights that may be read once for each tile of pixels
ADD_LATENCY = 4  # cycles until a fused multiply-add can be added to
WAYS, WAY_BYTES = 8, 4096  # of a first-level cache
SIGN_BIT = 1 << 31
ONE = 0x3F800000  # 1.0 in the bits of a float32 number


@dataclass(frozen=True, slots=True)
class SignConvKernel(Convolution):
    """A convolution of real maps with signs; its epilogue scales float32 sums."""

    weights_type: ClassVar[str] = "uint32"
    cost_of_bodies: ClassVar[float] = 0.03

    def __post_init__(self) -> None:
        TiledKernel.__post_init__(self)
        assert self.source.form.kind == "real", self
        assert self.epilogue.scaled, self

    def instruction(self, unit: VectorUnit) -> str:
        return "fma"

    @property
    def words(self) -> int:
        """Words of the channels of a group."""
        return -(-self.in_channels // WORD)

    @property
    def window(self) -> int:
        """Words of a window."""
        return self.words * self.kernel_size[0] * self.kernel_size[1]

    def pack(self, codes: Codes, unit: VectorUnit, tile: ConvTile) -> NDArray[np.uint8]:
        """Returns what the kernel reads for weights (O, I / groups, kh, kw), flat.

        Words in the order (group, block, kh, kw, word, vector, lane).
        """
        outputs, channels, *window = codes.shape
        negative = np.zeros((outputs, self.words * WORD, *window), np.uint32)
        negative[:, :channels] = codes < 0
        bits = negative.reshape(outputs, self.words, WORD, *window)
        shifts = np.arange(WORD, dtype=np.uint32)[::-1, None, None]
        words = np.zeros((self.padded_channels(unit), self.words, *window), np.uint32)
        words[self.places(unit)] = (bits << shifts).sum(2, dtype=np.uint32)
        grouped = words.reshape(self.groups, -1, unit.lanes, *words.shape[1:])
        runs = self.blocks(grouped, unit, tile)  # n v V word kh kw
        parts = [run.transpose(0, 4, 5, 3, 1, 2).ravel() for run in runs]
        return np.concatenate(parts).view(np.uint8)

    def function(self, unit: VectorUnit, tile: ConvTile) -> Any:  # noqa: ANN401
        return SignConvEmission(self, unit, tile).function()

    def conv_tiles(self, unit: VectorUnit) -> list[ConvTile]:
        room = unit.registers - (5 if unit.registers > 16 else 2)
        shapes = [
            (rows, columns, size)
            for rows, columns, size in self.tiles(unit, room)
            if size * (rows * columns + 2) <= room
        ]
        weights = 4 * self.window * self.padded_channels(unit) // self.groups
        least = 2 if unit.lanes < 8 and self.num_vectors(unit) > 1 else 1
        outside = weights > WEIGHTS_IN_CACHE
        return [ConvTile(*shape, outside) for shape in shapes or [(1, 1, least)]]

    def tile_cycles(self, unit: VectorUnit, tile: ConvTile) -> Callable[[int, int], float]:
        taps = self.kernel_size[0] * self.kernel_size[1] * self.in_channels
        logic = 1.0 if unit.name == "avx512" else 1.5  # to make a vector of signs
        most = cached_pixels(self.source)

        def cycles(pixels: int, size: int) -> float:
            cells = pixels * size
            step = max(cells / 2 + size * logic / 2, 0.5 * pixels, ADD_LATENCY)
            if pixels > most:
                step += pixels / 2
            return step * taps + 2 * cells + 15

        return cycles


def cached_pixels(source: View) -> int:
    """Pixels whose lines, one of each, are in a first-level cache of 8 ways of 4096 bytes."""
    return WAYS * WAY_BYTES // gcd(WAY_BYTES, 4 * source.pixel_stride)


class SignConvEmission(ConvolutionEmission):
    """One convolution being written."""

    kernel: SignConvKernel

    def sum_up(self, at: RegisterTile) -> None:
        kernel, v, source = self.kernel, self.vectors, self.kernel.source
        size, lanes = at.size, self.unit.lanes
        for register in at.registers:
            v.put(register, v.constant(0))
        padded = (at.group * kernel.num_vectors(self.unit) + at.first) * lanes
        block = T.bind(padded * kernel.window)
        origin = T.bind(self.origin(at))
        height, width = kernel.kernel_size
        row_step, column_step = self.window_steps()
        offsets = self.pixel_offsets(at)
        words = v.registers(size, "uint32")
        whole, rest = divmod(kernel.in_channels, WORD)

        def word(i: Expr, j: Expr, index: Expr, channels: int) -> None:
            tap = (i * width + j) * kernel.words + index
            for k, register in enumerate(words):
                where = block + tap * (size * lanes) + k * lanes
                v.put(register, self.weights[v.ramp(where)])
            corner = origin + i * row_step + j * column_step
            start = T.bind(corner + index * (WORD * source.channel_stride))
            with T.serial(channels) as c:
                taps = [self.next_signs(register) for register in words]
                channel = T.bind(start + c * source.channel_stride)
                for offset, registers in zip(offsets, at.sums, strict=True):
                    number = v.load_spread(self.source, channel + offset)
                    for register, tap in zip(registers, taps, strict=True):
                        v.put(register, v.get(register) + number * tap)

        with T.grid(height, width) as (i, j):
            if whole:
                with T.serial(whole) as index:
                    word(i, j, index, WORD)
            if rest:
                word(i, j, T.int32(whole), rest)

    def next_signs(self, words: Buffer) -> Expr:
        """A vector of -1.0 and +1.0 from the highest bits, which are then shifted out."""
        v, lanes = self.vectors, self.unit.lanes
        word = T.bind(v.get(words))
        v.put(words, T.shift_left(word, T.broadcast(T.uint32(1), lanes)))
        sign = T.bitwise_and(word, T.broadcast(T.uint32(SIGN_BIT), lanes))
        signed_one = T.bitwise_or(sign, T.broadcast(T.uint32(ONE), lanes))
        return T.bind(T.reinterpret(f"float32x{lanes}", signed_one))
