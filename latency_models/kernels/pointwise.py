"""Kernels that treat each number alone: copy, sum, gate, activation; and changes of layout."""

from dataclasses import dataclass
from typing import Any

from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.emitter import Buffer, Expr, T, Vectors, emit_function
from latency_models.kernels.view import View
from search_spaces.operators import Activation


@dataclass(frozen=True, slots=True)
class PointwiseKernel:
    """``activation(source)``, ``activation(source + addend)`` or ``activation(source * gate)``.

    Attributes:
        gate: A map of one pixel: a factor for each channel.
    """

    source: View
    target: View
    addend: View | None = None
    gate: View | None = None
    activation: Activation = "none"

    def __post_init__(self) -> None:
        assert not self.source.planar
        assert not self.target.planar
        assert self.addend is None or self.gate is None

    @property
    def arguments(self) -> tuple[str, ...]:
        second = ("addend",) if self.addend else ("gate",) if self.gate else ()
        return ("source", *second, "target")

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        v = Vectors(unit)

        def emit(source: Buffer, *rest: Buffer) -> None:
            second, target = rest[0], rest[-1]

            def pixel(y: Expr, x: Expr, channel: Expr, valid: Expr | None) -> None:
                value = v.load(source, at(self.source, y, x, channel))
                if self.addend is not None:
                    value = value + v.load(second, at(self.addend, y, x, channel))
                if self.gate is not None:
                    value = value * v.load(second, channel)
                value = v.activate(self.activation, value)
                v.store(target, at(self.target, y, x, channel), value, valid)

            with T.grid(self.target.height, self.target.width) as (y, x):
                v.for_channels(self.target.channels, lambda c, valid: pixel(y, x, c, valid))

        return emit_function(self.arguments, emit)


@dataclass(frozen=True, slots=True)
class ShuffleKernel:
    """Channels seen as (groups, n) and transposed to (n, groups)."""

    source: View
    target: View
    groups: int

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "target")

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        each = self.source.channels // self.groups

        def emit(source: Buffer, target: Buffer) -> None:
            with T.grid(self.target.height, self.target.width) as (y, x):
                start, end = at(self.source, y, x, 0), at(self.target, y, x, 0)
                with T.grid(each, self.groups) as (i, g):
                    number = source[start + g * each + i]
                    T.buffer_store(target, number, [end + i * self.groups + g])

        return emit_function(self.arguments, emit)


@dataclass(frozen=True, slots=True)
class LayoutKernel:
    """Copies between planar maps (NCHW) and maps of adjacent channels (NHWC), or adds a border."""

    source: View
    target: View

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "target")

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""
        v = Vectors(unit)

        def emit(source: Buffer, target: Buffer) -> None:
            if self.source.planar and self.target.planar:
                self.copy_planes(v, source, target)
            else:
                self.transpose(v, source, target)

        return emit_function(self.arguments, emit)

    def transpose(self, v: Vectors, source: Buffer, target: Buffer) -> None:
        """Squares of as many pixels as channels in registers; the ragged edge one by one."""
        channels, height, width = self.target.shape
        if self.source.halo == self.target.halo == 0:
            height, width = 1, height * width
        across, down = width // v.lanes * v.lanes, channels // v.lanes * v.lanes

        def single(first: int, count: int, first_pixel: int, pixels: int) -> None:
            if count and pixels:
                with T.grid(height, pixels, count) as (y, x, c):
                    place = (y, first_pixel + x, first + c)
                    number = source[planar_at(self.source, *place)]
                    T.buffer_store(target, number, [planar_at(self.target, *place)])

        if across and down:
            with T.grid(height, width // v.lanes, channels // v.lanes) as (y, x, c):
                place = (y, x * v.lanes, c * v.lanes)
                start = T.bind(planar_at(self.source, *place))
                end = T.bind(planar_at(self.target, *place))
                step, jump = self.source.pixel_stride, self.target.pixel_stride
                if self.source.planar:
                    step = self.source.channel_stride
                else:
                    jump = self.target.channel_stride
                rows = [v.load(source, start + i * step) for i in range(v.lanes)]
                for i, vector in enumerate(v.transpose(rows)):
                    v.store(target, end + i * jump, vector)
            single(down, channels - down, 0, across)
            single(0, channels, across, width - across)
        else:
            single(0, channels, 0, width)

    def copy_planes(self, v: Vectors, source: Buffer, target: Buffer) -> None:
        channels, height, width = self.target.shape
        whole = width - width % v.lanes  # no vector may reach past the user's array
        with T.grid(channels, height) as (c, y):
            from_row = T.bind(planar_at(self.source, y, 0, c))
            to_row = T.bind(planar_at(self.target, y, 0, c))
            v.for_channels(
                whole, lambda x, _: v.store(target, to_row + x, v.load(source, from_row + x))
            )
            with T.serial(width - whole) as x:
                number = source[from_row + whole + x]
                T.buffer_store(target, number, [to_row + whole + x])


@dataclass(frozen=True, slots=True)
class BorderKernel:
    """Zeroes the border of a map; one function for all maps, told its runs when called."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("target",)

    def numbers(self, view: View) -> tuple[int, ...]:
        """Returns what the function is called with for the whole of a buffer.

        Borders of adjacent rows touch: first all before the pixel (0, 0), then a run after each
        row, then the rest, for each plane.
        """
        planes, plane = (view.channels, view.channel_stride) if view.planar else (1, 0)
        side = view.halo * view.pixel_stride
        rows = view.halo * view.row_stride
        return (
            planes,
            plane,
            view.origin,
            view.height - 1,
            view.row_stride,
            view.width * view.pixel_stride,
            2 * side,
            (view.height - 1) * view.row_stride + view.width * view.pixel_stride,
            side + rows,
        )

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments`` and ``numbers``."""
        v = Vectors(unit)
        names = ("planes", "plane", "before", "rows", "row", "right", "sides", "end", "after")

        def emit(
            target: Buffer,
            planes: Expr,
            plane: Expr,
            before: Expr,
            rows: Expr,
            row: Expr,
            right: Expr,
            sides: Expr,
            end: Expr,
            after: Expr,
        ) -> None:
            with T.serial(planes) as p:
                start = T.bind(p * plane)
                v.zero_run(target, start - before, before)
                with T.serial(rows) as y:
                    v.zero_run(target, start + y * row + right, sides)
                v.zero_run(target, start + end, after)

        return emit_function(self.arguments, emit, names)


def at(view: View, y: Expr, x: Expr, channel: Expr) -> Expr:
    return y * view.row_stride + x * view.pixel_stride + channel


def planar_at(view: View, y: Expr, x: Expr, channel: Expr) -> Expr:
    return y * view.row_stride + x * view.pixel_stride + channel * view.channel_stride
