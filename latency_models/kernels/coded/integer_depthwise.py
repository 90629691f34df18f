"""Depthwise convolution of maps of codes with 8-bit weights: exact int32 sums.

Vectors run over the channels. The codes of up to four input rows are interleaved, so that a lane
holds four codes of one channel and one instruction multiplies and sums a column of the window. Two
adjacent output rows read the same interleaved codes with weights moved down by a row: a weight is
zero where an output row does not reach.

Letters: C channels, V lanes, R output rows of a tile, Q quads of input rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.dot import STEP, Dot, Operand, dot_kind, instruction
from latency_models.codegen.emitter import Expr, T, for_parts, split_evenly, tirx
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.depthwise import Depthwise, DepthwiseEmission, DepthwiseTile
from search_spaces.graphs.operators import Size

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int8]
Sums = dict[tuple[int, int], Expr]


@dataclass(frozen=True, slots=True)
class IntegerDepthwiseKernel(Depthwise):
    """A depthwise convolution of codes with coded weights; its epilogue scales int32 sums.

    Some bytes after a pixel's channels are read, and what comes of them is not written.
    """

    weights_type: ClassVar[str] = "uint8"

    def __post_init__(self) -> None:
        Depthwise.__post_init__(self)
        assert self.source.form.kind == "codes", self
        assert self.epilogue.scaled, self

    def instruction(self, unit: VectorUnit) -> str:
        return instruction(unit)

    def plan(self, rows: int) -> "RowPlan":
        return row_plan(rows, self.kernel_size[0], self.stride[0], self.dilation[0])

    def plans(self, tile: DepthwiseTile) -> tuple["RowPlan", ...]:
        """One for each height of a tile of the map."""
        return tuple(self.plan(rows) for _, _, rows in split_evenly(self.target.height, tile.rows))

    def pack(self, codes: Codes, unit: VectorUnit, tile: DepthwiseTile) -> Bytes:
        """Returns what the kernel reads for weights (C, 1, kh, kw), flat.

        For each vector of channels: the int32 that each sum starts at, then for each height of a
        tile, output row and quad that meet, and column: four weights a lane.
        """
        kind, lanes = dot_kind(unit), unit.lanes
        vectors = self.padded_channels(unit) // lanes
        taps = np.zeros((vectors * lanes, *self.kernel_size), np.int8)
        taps[: self.source.channels] = codes[:, 0]
        sums = taps.astype(np.int64).sum((1, 2))
        starts = ((kind.bias - self.source.form.zero) * sums).astype(np.int32)
        parts = [starts.view(np.uint8).reshape(vectors, -1)]
        for plan in self.plans(tile):
            for meeting in plan.meetings:
                weights = np.zeros((vectors, lanes, STEP, self.kernel_size[1]), np.int8)
                for place, tap in meeting.taps:
                    weights[:, :, place] = taps[:, tap].reshape(vectors, lanes, -1)
                order = (0, 3, 1, 2) if kind.lane_first else (0, 3, 2, 1)
                parts.append(weights.transpose(order).reshape(vectors, -1).view(np.uint8))
        return np.concatenate(parts, axis=1).ravel()

    def function(self, unit: VectorUnit, tile: DepthwiseTile) -> Any:  # noqa: ANN401
        return IntegerDepthwiseEmission(self, unit, tile).function()

    def tile_sizes(self, unit: VectorUnit) -> tuple[Size, ...]:
        if dot_kind(unit).registers == 1:
            return (2, 4), (2, 7), (1, 8), (2, 3), (1, 14), (1, 4), (4, 4)
        if self.kernel_size[0] <= 3:  # wide tiles make up for making operands of the weights
            return (2, 7), (2, 4), (1, 8), (1, 14), (2, 6), (2, 3), (1, 4)
        return (1, 8), (1, 14), (2, 7), (2, 4), (1, 6), (4, 4), (1, 4)


@dataclass(frozen=True, slots=True)
class Meeting:
    """An output row of a tile that reads a quad of input rows.

    Attributes:
        taps: (place in the quad, row of the window).
    """

    row: int
    quad: int
    taps: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How the rows of a tile are computed.

    Attributes:
        quads: Up to four input rows each, counted from the tile's first.
    """

    rows: int
    quads: tuple[tuple[int, ...], ...]
    meetings: tuple[Meeting, ...]


def row_plan(rows: int, height: int, stride: int, dilation: int) -> RowPlan:
    """Returns how ``rows`` output rows read a window of so many rows."""
    read = sorted({r * stride + i * dilation for r in range(rows) for i in range(height)})
    quads = tuple(tuple(read[i : i + STEP]) for i in range(0, len(read), STEP))
    meetings = []
    for r, (number, quad) in product(range(rows), enumerate(quads)):
        reach = {r * stride + i * dilation: i for i in range(height)}
        taps = tuple((place, reach[y]) for place, y in enumerate(quad) if y in reach)
        if taps:
            meetings.append(Meeting(r, number, taps))
    return RowPlan(rows, quads, tuple(meetings))


class IntegerDepthwiseEmission(DepthwiseEmission):
    """One depthwise convolution of codes being written."""

    kernel: IntegerDepthwiseKernel

    def __init__(
        self, kernel: IntegerDepthwiseKernel, unit: VectorUnit, tile: DepthwiseTile
    ) -> None:
        super().__init__(kernel, unit, tile)
        self.dot: Dot = dot_kind(unit)(self.vectors)
        each = [len(plan.meetings) * kernel.kernel_size[1] for plan in kernel.plans(tile)]
        self.before = {  # bytes of a vector's weights before those of each height of a tile
            plan.rows: 4 * unit.lanes + sum(each[:i]) * self.dot.bytes
            for i, plan in enumerate(kernel.plans(tile))
        }
        self.vector_bytes = 4 * unit.lanes + sum(each) * self.dot.bytes

    def row(self, y: Expr, rows: int) -> None:
        plan = self.kernel.plan(rows)

        def tile(x: Expr, width: int) -> None:
            def channels(channel: Expr, valid: Expr | None) -> None:
                self.block(y, plan, x, width, channel, valid)

            self.vectors.for_channels(self.kernel.source.channels, channels)

        for_parts(self.columns, lambda x, width, _: tile(x, width))

    def block(
        self, y: Expr, plan: RowPlan, x: Expr, columns: int, channel: Expr, valid: Expr | None
    ) -> None:
        """One register tile: one vector of channels for the plan's rows x columns pixels."""
        kernel, lanes = self.kernel, self.unit.lanes
        packed = T.bind(channel * (self.vector_bytes // lanes))
        start = self.weights[T.ramp(packed, 1, 4 * lanes)]
        start = T.bind(T.reinterpret(f"int32x{lanes}", start))
        first = packed + self.before[plan.rows]
        origin = T.bind(self.origin(y, x) + channel)
        sums: Sums = dict.fromkeys(product(range(plan.rows), range(columns)), start)
        if kernel.is_large:
            sums = self.looped(sums, plan, first, origin)
        else:
            sums = self.summed(sums, plan, first, origin)
        results = {pixel: [value] for pixel, value in sums.items()}
        self.end.finish(y, x, results, channel, channel, valid)

    def looped(self, before: Sums, plan: RowPlan, first: Expr, origin: Expr) -> Sums:
        """Adds quad by quad of a plan for one row of pixels: all are alike but for the last."""
        kernel = self.kernel
        last = len(plan.quads) - 1
        registers = {pixel: self.vectors.register("int32") for pixel in before}
        for pixel, register in registers.items():
            self.vectors.put(register, before[pixel])
        with T.serial(last) as quad:  # perhaps none
            rows = replace(plan, quads=plan.quads[:1], meetings=plan.meetings[:1])
            held = {pixel: self.vectors.get(register) for pixel, register in registers.items()}
            weights = T.bind(first + quad * (kernel.kernel_size[1] * self.dot.bytes))
            down = STEP * kernel.dilation[0] * kernel.source.row_stride
            for pixel, total in self.summed(held, rows, weights, origin + quad * down).items():
                self.vectors.put(registers[pixel], total)
        sums = {pixel: T.bind(self.vectors.get(register)) for pixel, register in registers.items()}
        end = replace(
            plan, quads=plan.quads[last:], meetings=(replace(plan.meetings[last], quad=0),)
        )
        return self.summed(
            sums, end, first + last * kernel.kernel_size[1] * self.dot.bytes, origin
        )

    def summed(self, before: Sums, plan: RowPlan, first: Expr, origin: Expr) -> Sums:
        """Adds all that a plan reads to the sum of each pixel."""
        kernel, width = self.kernel, self.kernel.kernel_size[1]
        taps = [
            [self.weights_at(first + (m * width + j) * self.dot.bytes) for j in range(width)]
            for m in range(len(plan.meetings))
        ]
        readers: dict[int, list[tuple[int, int]]] = {}
        for n, j in product(sorted({n for _, n in before}), range(width)):
            place = n * kernel.stride[1] + j * kernel.dilation[1]
            readers.setdefault(place, []).append((n, j))
        sums = dict(before)
        for place in sorted(readers):
            quads = [self.quad(origin, quad, place) for quad in plan.quads]
            for meeting, weights in zip(plan.meetings, taps, strict=True):
                for n, j in readers[place]:
                    total = sums[meeting.row, n]
                    total = self.dot.add(total, quads[meeting.quad], weights[j])
                    sums[meeting.row, n] = T.bind(total)
        return sums

    def weights_at(self, offset: Expr) -> Operand:
        return self.dot.weights(self.dot.load(self.weights, offset))

    def quad(self, origin: Expr, rows: Sequence[int], column: int) -> Operand:
        """The interleaved codes of up to four rows in one column."""
        view, lanes = self.kernel.source, self.unit.lanes
        vectors = [
            self.source[
                T.ramp(origin + row * view.row_stride + column * view.pixel_stride, 1, lanes)
            ]
            for row in rows
        ]
        vectors += [T.broadcast(T.uint8(0), lanes)] * (STEP - len(vectors))
        order = [k * lanes + lane for lane in range(lanes) for k in range(STEP)]
        joined = tirx.Shuffle(vectors, order)
        return self.dot.codes(T.bind(T.reinterpret(f"int32x{lanes}", joined)))
