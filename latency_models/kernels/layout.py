"""Changes of layout: shuffled channels, planar maps, borders, the network's input as codes."""

from dataclasses import dataclass
from typing import Any

from latency_models.codegen.emitter import Buffer, Expr, T, Vectors, emit_function
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.epilogue import ROUNDER
from latency_models.kernels.kernel import MovingKernel, UntiledKernel
from latency_models.kernels.view import View
from search_spaces.graphs.formats import WORD


@dataclass(frozen=True, slots=True)
class ShuffleKernel(MovingKernel):
    """Channels seen as (groups, n) and transposed to (n, groups)."""

    groups: int

    def __post_init__(self) -> None:
        assert self.source.form == self.target.form
        assert self.source.form.kind != "planes"

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        each = self.source.channels // self.groups

        def emit(source: Buffer, target: Buffer) -> None:
            with T.grid(self.target.height, self.target.width) as (y, x):
                start, end = at(self.source, y, x, 0), at(self.target, y, x, 0)
                with T.grid(each, self.groups) as (i, g):
                    number = source[start + g * each + i]
                    T.buffer_store(target, number, [end + i * self.groups + g])

        kind = self.source.form.element
        return emit_function(self.arguments, emit, types={"source": kind, "target": kind})


@dataclass(frozen=True, slots=True)
class LayoutKernel(MovingKernel):
    """Copies between planar maps (NCHW) and maps of adjacent channels (NHWC), or adds a border."""

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
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
class PlanarCodesKernel(UntiledKernel):
    """Turns a planar real map of at most four channels into codes, four bytes to a pixel.

    A byte that is no channel is never read but with a weight of zero.
    """

    source: View
    target: View

    def __post_init__(self) -> None:
        assert self.source.planar
        assert self.source.channels <= 4 == self.target.pixel_stride
        assert self.target.form.kind == "codes"

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "steps", "target")

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``; steps hold 1 over the step."""
        v = Vectors(unit)
        height, width = self.target.height, self.target.width
        form = self.target.form

        def code(real: Expr, inverse: Expr) -> Expr:
            scaled = v.rounded(real * inverse)
            clipped = T.min(
                T.max(scaled, v.constant(-form.zero)), v.constant(form.highest - form.zero)
            )
            summed = v.rounded(clipped + v.constant(ROUNDER + form.zero))
            byte = T.reinterpret(f"int32x{v.lanes}", summed)
            return T.bitwise_and(byte, T.broadcast(T.int32(255), v.lanes))

        def emit(source: Buffer, steps: Buffer, target: Buffer) -> None:
            inverse = v.load_spread(steps, T.int32(0))

            def pixels(y: Expr, x: Expr, valid: int | None) -> None:
                word = None
                for channel in range(self.source.channels):
                    start = planar_at(self.source, y, x, T.int32(channel))
                    numbers = (
                        v.load(source, start)
                        if valid is None
                        else v.gather([source[start + i] for i in range(valid)])
                    )
                    shift = T.broadcast(T.int32(8 * channel), v.lanes)
                    byte = T.shift_left(code(numbers, inverse), shift)
                    word = byte if word is None else T.bitwise_or(word, byte)
                at = (y * self.target.row_stride + x * self.target.pixel_stride) // 4
                v.store(target, at, word, valid, "int32")

            whole, rest = divmod(width, v.lanes)
            with T.serial(height) as y:
                if whole:
                    with T.serial(whole) as block:
                        pixels(y, block * v.lanes, None)
                if rest:
                    pixels(y, T.int32(whole * v.lanes), rest)

        return emit_function(self.arguments, emit, types={"target": "int32"})


@dataclass(frozen=True, slots=True)
class BorderKernel(UntiledKernel):
    """Fills the border of a map with one byte; one function for all maps, told its runs."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("target",)

    def numbers(self, view: View) -> tuple[int, ...]:
        """Returns what the function is called with for the whole of a buffer, in bytes.

        Borders of adjacent rows touch: first all before the pixel (0, 0), then a run after each
        row, then the rest, for each plane.
        """
        planes, plane = (view.channels, view.channel_stride) if view.planar else (1, 0)
        side = view.halo * view.pixel_stride
        rows = view.halo * view.row_stride
        runs = (
            plane,
            view.origin,
            view.row_stride,
            view.width * view.pixel_stride,
            2 * side,
            (view.height - 1) * view.row_stride + view.width * view.pixel_stride,
            side + rows,
        )
        size = view.form.element_bytes
        fill = view.form.zero if view.form.kind == "codes" else 0
        return (planes, view.height - 1, fill, *(size * run for run in runs))

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments`` and ``numbers``."""
        v = Vectors(unit)
        counts = ("planes", "rows", "fill")
        runs = ("plane", "before", "row", "right", "sides", "end", "after")

        def emit(
            target: Buffer,
            planes: Expr,
            rows: Expr,
            fill: Expr,
            plane: Expr,
            before: Expr,
            row: Expr,
            right: Expr,
            sides: Expr,
            end: Expr,
            after: Expr,
        ) -> None:
            byte = T.bind(T.Cast("uint8", fill))
            with T.serial(planes) as p:
                start = T.bind(p * plane)
                v.fill_run(target, start - before, before, byte)
                with T.serial(rows) as y:
                    v.fill_run(target, start + y * row + right, sides, byte)
                v.fill_run(target, start + end, after, byte)

        return emit_function(self.arguments, emit, (*counts, *runs), types={"target": "uint8"})


@dataclass(frozen=True, slots=True)
class PlaneBorderKernel(UntiledKernel):
    """Writes the code of zero to the border of a packed map, where that is not all zero bits."""

    target: View

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("target",)

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        view = self.target
        last = view.channels % WORD

        def emit(target: Buffer) -> None:
            def fill(y: Expr, x: Expr) -> None:
                pixel = T.bind(y * view.row_stride + x * view.pixel_stride)
                for plane in range(view.form.bits):
                    ones = (1 << WORD) - 1 if view.form.zero >> plane & 1 else 0
                    for word in range(view.words):
                        cut = (1 << last) - 1 if last and word == view.words - 1 else ones
                        at = pixel + plane * view.plane_stride + word
                        T.buffer_store(target, T.uint32(ones & cut), [at])

            halo, height, width = view.halo, view.height, view.width
            with T.grid(halo, width + 2 * halo) as (y, x):
                fill(y - halo, x - halo)
                fill(y + height, x - halo)
            with T.grid(height, halo) as (y, x):
                fill(y, x - halo)
                fill(y, x + width)

        return emit_function(self.arguments, emit, types={"target": "uint32"})


def at(view: View, y: Expr, x: Expr, channel: Expr) -> Expr:
    return y * view.row_stride + x * view.pixel_stride + channel


def planar_at(view: View, y: Expr, x: Expr, channel: Expr) -> Expr:
    return y * view.row_stride + x * view.pixel_stride + channel * view.channel_stride
