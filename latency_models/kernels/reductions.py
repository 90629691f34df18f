"""Reductions: pools over windows of pixels and whole maps, and norms over a pixel's channels.

Norms read maps of any form but one: local response norm takes no packed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

from latency_models.codegen.across import (
    first_lanes,
    inverse_power,
    lane_sum,
    square_root,
    taken_lanes,
)
from latency_models.codegen.emitter import Buffer, Expr, T, Vectors, emit_function, tirx
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.kernel import MovingKernel
from latency_models.kernels.plain import PixelReader, PlainKernel
from search_spaces.graphs.operators import Size, window_ends

TOGETHER = 4  # pixels whose sums are added at once: additions wait for each other


@dataclass(frozen=True, slots=True)
class PoolKernel(PlainKernel):
    """Max or average pooling between views of as many channels.

    The average reads the zeros of the source's halo. The maximum reads the nearest number of the
    map in place of padding: it lies in the same window.

    Attributes:
        counted: What counts in a mean beside the map, before and after it; None where every
            window counts as a whole.
    """

    kind: Literal["max", "average"] = "max"
    kernel_size: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    counted: tuple[Size, Size] | None = None

    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        height, width = self.kernel_size
        average = self.kind == "average"
        if average:
            assert max(*self.padding, *self.ends) <= self.source.halo, self
        result = v.register()
        v.put(result, v.constant(0 if average else -float("inf")))
        with T.grid(height, width) as (i, j):
            row, column = inside(self, y, x, i, j)
            number = sources[0].at(row, column, channel)
            both = v.get(result)
            v.put(result, both + number if average else T.max(both, number))
        value = v.get(result)
        return v.rounded(value * self.share(v, y, x)) if average else value

    @property
    def ends(self) -> Size:
        """How far windows reach beyond the source, below and right."""
        sizes, counts = ((view.height, view.width) for view in (self.source, self.target))
        return window_ends(sizes, counts, self.kernel_size, self.stride, self.padding)

    def share(self, v: Vectors, y: Expr, x: Expr) -> Expr:
        """1 over how many numbers the mean at (y, x) is over, in every lane."""
        if self.counted is None:
            return v.constant(1 / prod(self.kernel_size))
        sizes = (self.source.height, self.source.width)
        along = []
        for axis, place in enumerate((y, x)):
            before, after = (beside[axis] for beside in self.counted)
            start = place * self.stride[axis] - self.padding[axis]
            end = T.min(start + self.kernel_size[axis], T.int32(sizes[axis] + after))
            along.append(end - T.max(start, T.int32(-before)))
        number = T.Cast("float32", along[0] * along[1])
        return T.bind(T.broadcast(T.float32(1) / number, v.lanes))


def inside(kernel: "PoolKernel | CodePoolKernel", y: Expr, x: Expr, i: Expr, j: Expr) -> Any:  # noqa: ANN401
    """The pixel of the source at place (i, j) of a window; the nearest one where that is outside.

    An average reads outside: there are zeros.
    """
    row = y * kernel.stride[0] - kernel.padding[0] + i
    column = x * kernel.stride[1] - kernel.padding[1] + j
    if kernel.kind == "max":
        row = T.max(T.min(row, T.int32(kernel.source.height - 1)), T.int32(0))
        column = T.max(T.min(column, T.int32(kernel.source.width - 1)), T.int32(0))
    return row, column


@dataclass(frozen=True, slots=True)
class CodePoolKernel(MovingKernel):
    """Max pooling of codes as they are: the largest code stands for the largest number."""

    kernel_size: Size
    stride: Size
    padding: Size = (0, 0)

    kind: ClassVar[str] = "max"

    def __post_init__(self) -> None:
        assert self.source.form == self.target.form
        assert self.source.form.kind == "codes"

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        lanes, channels = 4 * unit.lanes, self.source.channels
        height, width = self.kernel_size

        def emit(source: Buffer, target: Buffer) -> None:
            def vector(y: Expr, x: Expr, channel: Expr, size: int) -> None:
                largest = T.alloc_buffer((size,), "uint8", scope="local")
                every = T.ramp(0, 1, size) if size > 1 else 0
                zero = T.Cast("uint8", T.int32(0))
                start = T.broadcast(zero, size) if size > 1 else zero
                T.buffer_store(largest, start, [every])
                with T.grid(height, width) as (i, j):
                    row, column = inside(self, y, x, i, j)
                    at = row * self.source.row_stride + column * self.source.pixel_stride + channel
                    codes = source[T.ramp(at, 1, size) if size > 1 else at]
                    T.buffer_store(largest, T.max(largest[every], codes), [every])
                at = y * self.target.row_stride + x * self.target.pixel_stride + channel
                T.buffer_store(target, largest[every], [T.ramp(at, 1, size) if size > 1 else at])

            with T.grid(self.target.height, self.target.width) as (y, x):
                done = 0
                for size in (lanes, unit.lanes, 1):
                    count = (channels - done) // size
                    if count:
                        with T.serial(count) as block:
                            vector(y, x, done + block * size, size)
                        done += count * size

        return emit_function(self.arguments, emit, types={"source": "uint8", "target": "uint8"})


@dataclass(frozen=True, slots=True)
class GlobalPoolKernel(PlainKernel):
    """The mean of each channel: a map of one pixel."""

    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        view = self.source
        total = v.register()
        v.put(total, v.constant(0))
        with T.grid(view.height, view.width) as (row, column):
            v.put(total, v.get(total) + sources[0].at(row, column, channel))
        return v.rounded(v.get(total) * v.constant(1 / (view.height * view.width)))


@dataclass(frozen=True, slots=True)
class NormalisedReader:
    """A map of which one pixel is read less its mean and over its deviation."""

    reader: PixelReader
    mean: Expr
    inverse: Expr

    def at(self, y: Expr, x: Expr, channel: Expr) -> Expr:
        return (self.reader.at(y, x, channel) - self.mean) * self.inverse


@dataclass(frozen=True, slots=True)
class LayerNormKernel(PlainKernel):
    """The channels of a pixel less their mean, over their deviation; the epilogue scales them."""

    epsilon: float = 1e-5

    @property
    def map_size(self) -> Size:
        return self.joined_rows(self.sources)

    @property
    def pixels(self) -> int:
        return TOGETHER

    def readers(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, count: int
    ) -> list[Sequence[PixelReader]]:
        (reader,) = sources

        def number(pixel: int, channel: Expr) -> Expr:
            return reader.at(y, x + pixel, channel)

        means = self.means(v, number, count)

        def square(pixel: int, channel: Expr) -> Expr:
            difference = T.bind(number(pixel, channel) - means[pixel])
            return difference * difference

        epsilon, one = v.constant(self.epsilon), v.constant(1)
        inverses = [
            T.bind(one / square_root(v, variance + epsilon))
            for variance in self.means(v, square, count)
        ]
        pairs = zip(means, inverses, strict=True)
        return [(NormalisedReader(reader, *pair),) for pair in pairs]

    def means(self, v: Vectors, number: Callable[[int, Expr], Expr], count: int) -> list[Expr]:
        """The mean over the channels of each of ``count`` pixels, in every lane."""
        whole, rest = divmod(self.source.channels, v.lanes)
        totals = v.registers(count)

        def add(channel: Expr, valid: int) -> None:
            for pixel, total in enumerate(totals):
                found = number(pixel, channel)
                found = found if valid == v.lanes else first_lanes(v, T.bind(found), valid)
                v.put(total, v.get(total) + found)

        for total in totals:
            v.put(total, v.constant(0))
        if whole:
            with T.serial(whole) as block:
                add(block * v.lanes, v.lanes)
        if rest:
            add(T.int32(whole * v.lanes), rest)
        share = v.constant(1 / self.source.channels)
        return [v.rounded(lane_sum(v, v.get(total)) * share) for total in totals]

    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        return sources[0].at(y, x, channel)


@dataclass(frozen=True, slots=True)
class LocalResponseKernel(PlainKernel):
    """Each number over a power of the mean square of the channels around its own.

    Vectors whose windows reach beyond the map's channels are written out one by one; between them
    is a loop.
    """

    size: int = 1
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    @property
    def map_size(self) -> Size:
        return self.joined_rows(self.sources)

    @property
    def reach(self) -> int:
        """How many channels on each side count."""
        return min(self.size // 2, self.source.channels - 1)

    def for_vectors(self, v: Vectors, body: Callable[[Expr, Expr | None], None]) -> None:
        channels, lanes = self.source.channels, v.lanes
        blocks = -(-channels // lanes)
        front = min(blocks, -(-self.reach // lanes))
        back = max(front, (channels - self.reach) // lanes)

        def one(block: int) -> None:
            left = channels - block * lanes
            body(T.int32(block * lanes), None if left >= lanes else left)

        for block in range(front):
            one(block)
        if back > front:
            with T.serial(back - front) as block:
                body((block + front) * lanes, None)
        for block in range(back, blocks):
            one(block)

    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        (reader,) = sources
        number = T.bind(reader.at(y, x, channel))
        total = number * number
        for step in range(1, self.reach + 1):
            for place in (-step, step):
                other = T.bind(self.shifted(v, reader, y, x, channel, place))
                total = T.bind(total + other * other)
        base = T.bind(total * v.constant(self.alpha / self.size) + v.constant(self.k))
        return v.rounded(number * inverse_power(v, base, self.beta))

    def shifted(
        self, v: Vectors, reader: PixelReader, y: Expr, x: Expr, channel: Expr, step: int
    ) -> Expr:
        """The numbers ``step`` channels on, zeros where there are none; nothing else is read."""
        if not isinstance(channel, tirx.IntImm):
            return reader.at(y, x, channel + step)
        channels, first = self.source.channels, int(channel) + step
        start = min(max(first, 0), max(channels - v.lanes, 0))
        loaded = T.bind(reader.at(y, x, T.int32(start)))
        places = range(first, first + v.lanes)
        if start == first and places[-1] < channels:
            return loaded
        return taken_lanes(
            v, loaded, [p - start if 0 <= p < channels and p >= start else None for p in places]
        )
