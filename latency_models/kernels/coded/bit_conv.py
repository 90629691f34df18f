"""Convolution of packed maps (1 or 2 bits) with weights of 1 or 2 bits, by counting ones.

A sum of products is a sum over pairs of a bit of the map and a bit of the weights. Each pair is
counted in a pass over the window and is worth a power of two: passes worth most come first, and
sums are doubled in between. What the meaning of codes adds to a sum depends on the weights alone:
it is what the sum should be where every bit of the map is 0, less what is counted there.

Weights of 1 bit have their ones where they are -1, so that "xor" counts products of signs that are
+1. Weights of 2 bits are -2 b1 + b0: the ones of pairs with b1 are taken from the sum. Bits that
are no channel are 0 on both sides.

*Source:* Rastegari et al., "XNOR-Net", ECCV 2016, https://arxiv.org/abs/1603.05279, section 3.2;
Zhou et al., "DoReFa-Net", 2016, https://arxiv.org/abs/1606.06160, section 2.1.

*Differs from the papers:* the padding of signs is -1, not 0; weights of 2 bits are two's
complement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.bit_counting import Counter, Join, counter_kind, instruction
from latency_models.codegen.emitter import Expr, T, for_parts
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.convolution import (
    Convolution,
    ConvolutionEmission,
    ConvTile,
    RegisterTile,
)
from latency_models.kernels.kernel import TiledKernel
from search_spaces.graphs.formats import WORD

Codes = NDArray[np.int8]
WEIGHTS_IN_CACHE = 16 << 10  # bytes of weights that may be read once for each tile of pixels
FAST_CACHE = 16 << 10  # bytes of the first-level cache that weights may take
FAR = 3  # loads in the time of one from beyond it
UNROLLED = 96  # words of all cells and passes that are counted in straight code, about
END_OPERATIONS = 6  # to end one vector of sums, about
CROWDED = 0.005  # what a register costs that could hold a constant, or what is ahead
LARGEST_SUM = 1 << 24  # float32 holds every whole number up to here


@dataclass(frozen=True, slots=True)
class Pass:
    """One bit of the map and one bit of the weights, by their planes, and how they are joined."""

    map_plane: int
    weight_plane: int
    join: Join
    downwards: bool = False


# By the bits of map and weights: passes worth the highest power of two, then half of it, ...
PASSES: dict[tuple[int, int], tuple[tuple[Pass, ...], ...]] = {
    (1, 1): ((Pass(0, 0, "xor"),),),
    (2, 1): ((Pass(1, 0, "xor"),), (Pass(0, 0, "xor"),)),
    (2, 2): (
        (Pass(1, 1, "and", downwards=True),),
        (Pass(0, 1, "and", downwards=True), Pass(1, 0, "and")),
        (Pass(0, 0, "and"),),
    ),
}


@dataclass(frozen=True, slots=True)
class BitConvKernel(Convolution):
    """A convolution of bit planes; its epilogue scales int32 sums.

    Attributes:
        weight_bits: 1 for weights of -1 and +1, 2 for those of -2 to 1.
    """

    weight_bits: int = 1

    weights_type: ClassVar[str] = "uint32"
    cost_of_bodies: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        TiledKernel.__post_init__(self)
        assert self.source.form.kind == "planes", self
        assert self.epilogue.scaled, self
        assert self.groups == 1 or self.in_channels % WORD == 0, self
        assert (self.source.form.bits, self.weight_bits) in PASSES, self
        assert 6 * self.terms < LARGEST_SUM, self

    def instruction(self, unit: VectorUnit) -> str:
        return instruction(unit)

    @property
    def passes(self) -> tuple[tuple[Pass, ...], ...]:
        return PASSES[self.source.form.bits, self.weight_bits]

    @property
    def num_passes(self) -> int:
        return sum(map(len, self.passes))

    @property
    def terms(self) -> int:
        """Products of one sum."""
        return self.in_channels * self.kernel_size[0] * self.kernel_size[1]

    @property
    def words(self) -> int:
        """Words of one plane of the channels of a group."""
        return -(-self.in_channels // WORD)

    @property
    def window(self) -> int:
        """Words of one plane of a window."""
        return self.words * self.kernel_size[0] * self.kernel_size[1]

    @property
    def worth(self) -> int:
        """What a one of the last pass adds to a sum: a product of signs is +1 and not -1."""
        return 2 if self.source.form.bits == 1 else 1

    @property
    def left_undone(self) -> int:
        """What the epilogue multiplies sums by: all that they are worth, if they start whole."""
        return self.worth if self.terms % 2 == 0 else 1

    def pack(self, codes: Codes, unit: VectorUnit, tile: ConvTile) -> NDArray[np.uint8]:
        """Returns what the kernel reads for weights (O, I / groups, kh, kw), flat.

        First what is added to each sum, then the words in the order (group, block, plane, kh, kw,
        word, vector, lane).
        """
        planes = self.planes(codes)
        starts = np.zeros(self.padded_channels(unit), np.int32)
        starts[self.places(unit)] = self.starts(codes, planes) // self.left_undone
        parts = [starts.view(np.uint32)]
        runs = self.blocks(self.grouped_words(planes, unit), unit, tile)  # n v V plane word kh kw
        parts += [run.transpose(0, 3, 5, 6, 4, 1, 2).ravel() for run in runs]
        return np.concatenate(parts).view(np.uint8)

    def planes(self, codes: Codes) -> Codes:
        """The bits (O, planes, I / groups, kh, kw) of weights."""
        bits = [codes < 0] if self.weight_bits == 1 else [codes & 1, codes >> 1 & 1]
        return np.stack(bits, axis=1).astype(np.int8)

    def starts(self, codes: Codes, planes: Codes) -> NDArray[np.int64]:
        """What is added to each sum (O,) of what is counted."""
        ones = planes.sum((2, 3, 4), dtype=np.int64)
        form = self.source.form
        lowest = -1 if form.bits == 1 else -form.zero
        start = lowest * codes.sum((1, 2, 3), dtype=np.int64)
        for power, passes in enumerate(reversed(self.passes)):
            for each in passes:
                counted = 0 if each.join == "and" else ones[:, each.weight_plane]
                start = start - (self.worth << power) * counted
        return start

    def grouped_words(self, planes: Codes, unit: VectorUnit) -> NDArray[np.uint32]:
        """Bits (O, planes, I, kh, kw) as words (groups, vectors, V, planes, words, kh, kw)."""
        outputs, count, channels, *window = planes.shape
        padded = np.zeros((outputs, count, self.words * WORD, *window), np.uint32)
        padded[:, :, :channels] = planes
        bits = padded.reshape(outputs, count, self.words, WORD, *window)
        shifts = np.arange(WORD, dtype=np.uint32)[:, None, None]
        words = np.zeros(
            (self.padded_channels(unit), count, self.words, *window), np.uint32
        )  # lanes without a channel have no ones
        words[self.places(unit)] = (bits << shifts).sum(3, dtype=np.uint32)
        return words.reshape(self.groups, -1, unit.lanes, *words.shape[1:])

    def function(self, unit: VectorUnit, tile: ConvTile) -> Any:  # noqa: ANN401
        return BitConvEmission(self, unit, tile).function()

    def conv_tiles(self, unit: VectorUnit) -> list[ConvTile]:
        counter = counter_kind(unit, self.window)
        room = unit.registers - counter.constants - 3 - unit.registers // 8
        weights = 4 * self.window * self.weight_bits * self.padded_channels(unit) // self.groups
        words = min(counter.step, 2)  # vectors of weights of one cell that are in registers
        shapes = [
            (rows, columns, size)
            for rows, columns, size in self.tiles(unit, room)
            if size * (rows * columns * counter.registers + words) <= room
        ]
        outside = weights > WEIGHTS_IN_CACHE
        least = 2 if unit.lanes < 8 and self.num_vectors(unit) > 1 else 1
        return [ConvTile(*shape, outside) for shape in shapes or [(1, 1, least)]]

    def tile_cycles(self, unit: VectorUnit, tile: ConvTile) -> Callable[[int, int], float]:
        """Returns what counts the cycles of one register tile of so many pixels and vectors.

        Two operations on 64 bytes are begun in a cycle or four on less, and half as many loads.
        """
        counter = counter_kind(unit, self.window)
        rate = 2 if unit.lanes == 16 else 4
        words = self.window * self.num_passes
        vector_bytes = 4 * self.window * self.weight_bits * unit.lanes
        num_vectors = self.num_vectors(unit)

        def cycles(pixels: int, size: int) -> float:
            cells = pixels * size
            operations = cells * (words * counter.operations + END_OPERATIONS) + 2 * size
            block = vector_bytes * (size if tile.blocks_outside else num_vectors)
            weights = size * (1 if block <= FAST_CACHE else FAR)
            loaded = 2 * ((pixels + weights) * words + 3 * size + cells)
            latency = 3 * words + 8
            crowded = 1 + CROWDED * max(0, cells * counter.registers - unit.registers // 4)
            return max(operations / rate, loaded / rate, latency) * crowded + 4

        return cycles


class BitConvEmission(ConvolutionEmission):
    """One convolution being written."""

    kernel: BitConvKernel
    sum_kind = "int32"

    def __init__(self, kernel: BitConvKernel, unit: VectorUnit, tile: ConvTile) -> None:
        super().__init__(kernel, unit, tile)
        self.worth = kernel.left_undone

    def sum_up(self, at: RegisterTile) -> None:
        kernel, v, lanes = self.kernel, self.vectors, self.unit.lanes
        size = at.size
        padded = T.bind((at.group * kernel.num_vectors(self.unit) + at.first) * lanes)
        planes = kernel.weight_bits
        where = T.bind(kernel.padded_channels(self.unit) + padded * (kernel.window * planes))
        origin = T.bind(self.origin(at))
        zero = T.broadcast(T.int32(0), lanes)
        kind = counter_kind(self.unit, kernel.window)
        counter = kind(v, [zero] * (len(at.pixels) * size))
        walk = _Walk(self, counter, size, self.pixel_offsets(at), origin, where)
        for power, passes in enumerate(kernel.passes):
            if power:
                counter.double()
            for each in passes:
                walk.count(each)
        if kernel.worth > kernel.left_undone:
            counter.double()
        starts = [
            T.bind(T.reinterpret(f"int32x{lanes}", v.load(self.weights, padded + j * lanes)))
            for j in range(size)
        ]
        for cell, register in enumerate(at.registers):
            v.put(register, v.get(counter.sums[cell]) + starts[cell % size])


@dataclass(frozen=True, slots=True)
class _Walk:
    """The passes of one register tile over its windows.

    Attributes:
        size: Vectors of output channels; cells are counted pixel by pixel.
        offsets: Of each pixel's words from those of the first.
        origin: Of the first pixel's first word.
        weights: Of the block's first word.
    """

    emission: BitConvEmission
    counter: Counter
    size: int
    offsets: list[int]
    origin: Expr
    weights: Expr

    def count(self, each: Pass) -> None:
        """One pass: loops outside, and as much straight code inside as is reasonable."""
        kernel, counter = self.emission.kernel, self.counter
        counter.downwards = each.downwards
        height, width = kernel.kernel_size
        words = kernel.words
        cells = self.size * len(self.offsets)
        most = max(counter.step, UNROLLED // (cells * kernel.num_passes))
        most = min(most, counter.limit)
        if kernel.window <= most:
            taps = [(i, j, c) for i in range(height) for j in range(width) for c in range(words)]
            self.straight(each, taps)
        elif width * words <= most:
            with T.serial(height) as i:
                self.straight(each, [(i, j, c) for j in range(width) for c in range(words)])
        else:
            # As many words at a time as can be divided by what is best added together.
            most = max(counter.step, min(most, 16) // counter.step * counter.step)
            with T.grid(height, width) as (i, j):
                for_parts(
                    even_parts(words, most),
                    lambda first, count, _: self.straight(
                        each, [(i, j, first + c) for c in range(count)]
                    ),
                )
        counter.end()

    def straight(self, each: Pass, taps: list[tuple[Expr, Expr, Expr]]) -> None:
        counter = self.counter
        for first in range(0, len(taps), counter.step):
            self.add(each, taps[first : first + counter.step])
        if len(taps) < self.emission.kernel.window:
            counter.settle()

    def add(self, each: Pass, taps: list[tuple[Expr, Expr, Expr]]) -> None:
        """Counts the words of a few taps (i, j, word) for every cell."""
        v, kernel = self.emission.vectors, self.emission.kernel
        weights = [
            [v.load(self.emission.weights, at + j * v.lanes) for j in range(self.size)]
            for at in (self.weight_at(each, tap) for tap in taps)
        ]
        starts = [T.bind(self.code_at(each, tap)) for tap in taps]
        for pixel, offset in enumerate(self.offsets):
            codes = [v.load_spread(self.emission.source, start + offset) for start in starts]
            for j in range(self.size):
                pairs = [(code, row[j]) for code, row in zip(codes, weights, strict=True)]
                self.counter.add(pixel * self.size + j, each.join, pairs)
        assert kernel.source.form.kind == "planes"

    def code_at(self, each: Pass, tap: tuple[Expr, Expr, Expr]) -> Expr:
        (i, j, word), kernel = tap, self.emission.kernel
        row_step, column_step = self.emission.window_steps()
        place = self.origin + i * row_step + j * column_step
        return place + each.map_plane * kernel.source.plane_stride + word

    def weight_at(self, each: Pass, tap: tuple[Expr, Expr, Expr]) -> Expr:
        (i, j, word), kernel = tap, self.emission.kernel
        index = (i * kernel.kernel_size[1] + j) * kernel.words + word
        plane = each.weight_plane * kernel.window
        return T.bind(self.weights + (plane + index) * (self.size * self.emission.unit.lanes))


def even_parts(total: int, size: int) -> tuple[tuple[int, int, int], ...]:
    """Cuts ``total`` into parts of ``size`` and one with the rest: (first, count, size)."""
    whole, rest = divmod(total, size)
    runs = ((0, whole, size), (whole * size, 1, rest))
    return tuple(run for run in runs if run[1] and run[2])
