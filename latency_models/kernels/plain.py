"""Kernels without weights that compute real numbers: a vector of channels of a pixel at a time.

What they read may be real or codes, which become real numbers as they are loaded; what they write
is up to their epilogue. Here are those that treat each number alone (copy, sum, gate, activation),
and magnitudes.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import (
    Buffer,
    Expr,
    T,
    Vectors,
    emit_function,
    for_parts,
    split_evenly,
)
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.epilogue_code import EpilogueEmission
from latency_models.kernels.kernel import UntiledKernel
from latency_models.kernels.view import View
from search_spaces.graphs.formats import WORD
from search_spaces.graphs.operators import Size

Steps = tuple[float, ...]  # one for each source; 1 where it is real


class PixelReader(Protocol):
    """What gives a plain kernel its numbers."""

    def at(self, y: Expr, x: Expr, channel: Expr) -> Expr:
        """Returns the numbers of a vector of channels of the pixel (y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class MapReader:
    """A map as a plain kernel reads it: vectors of real numbers."""

    view: View
    buffer: Any
    step: Any  # of its codes, in every lane
    vectors: Vectors

    def at(self, y: Expr, x: Expr, channel: Expr) -> Expr:
        """The numbers of a vector of channels of the pixel (y, x)."""
        view, v = self.view, self.vectors
        pixel = y * view.row_stride + x * view.pixel_stride
        if view.form.kind == "real":
            return v.load(self.buffer, pixel + channel)
        if view.form.kind == "planes":
            words = [
                v.load_spread(self.buffer, pixel + plane * view.plane_stride + channel // WORD)
                for plane in range(view.form.bits)
            ]
            return v.unpacked(words, channel % WORD, view.form.zero, self.step)
        return v.decoded(self.buffer, pixel + channel, view.form.zero, self.step)


@dataclass(frozen=True, slots=True)
class PlainKernel(UntiledKernel):
    """A kernel whose result at a pixel is a function of its sources there and around.

    Attributes:
        sources: Maps of any form; packed ones are meant for rare readers.
    """

    sources: tuple[View, ...]
    epilogue: Epilogue

    def __post_init__(self) -> None:
        assert not any(view.planar for view in self.sources), self

    @property
    def source(self) -> View:
        return self.sources[0]

    @property
    def target(self) -> View:
        """The first target: all have one shape."""
        return self.epilogue.targets[0]

    @property
    def has_steps(self) -> bool:
        return any(view.form.kind != "real" for view in self.sources)

    @property
    def arguments(self) -> tuple[str, ...]:
        steps = ("steps",) if self.has_steps else ()
        names = (f"source{index}" for index in range(len(self.sources)))
        return (*names, *steps, *self.epilogue.arguments)

    @property
    def map_size(self) -> Size:
        """Rows and columns to loop over."""
        return self.target.height, self.target.width

    @property
    def pixels(self) -> int:
        """How many pixels share the loaded constants of a vector of channels."""
        return 1

    def padded_channels(self, unit: VectorUnit) -> int:
        return -(-self.target.channels // unit.lanes) * unit.lanes

    def places(self, unit: VectorUnit) -> NDArray[np.intp]:
        """For each channel, its place among the padded ones."""
        return np.arange(self.target.channels)

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        v = Vectors(unit)

        def emit(*buffers: Buffer) -> None:
            count = len(self.sources)
            rest = buffers[count + self.has_steps :]
            sources = []
            for index, (view, buffer) in enumerate(
                zip(self.sources, buffers[:count], strict=True)
            ):
                coded = view.form.kind != "real"
                step = v.load_spread(buffers[count], T.int32(index)) if coded else None
                sources.append(MapReader(view, buffer, step, v))
            end = EpilogueEmission(self.epilogue, v, self.padded_channels(unit), rest)

            def pixels(y: Expr, x: Expr, count: int) -> None:
                readers = self.readers(v, sources, y, x, count)

                def channels(channel: Expr, valid: Expr | None) -> None:
                    results = {
                        (0, i): [self.value(v, reader, y, x + i, channel)]
                        for i, reader in enumerate(readers)
                    }
                    end.finish(y, x, results, channel, channel, valid)

                self.for_vectors(v, channels)

            height, width = self.map_size
            with T.serial(height) as y:
                for_parts(split_evenly(width, self.pixels), lambda x, n, _: pixels(y, x, n))

        types = {f"source{index}": view.form.element for index, view in enumerate(self.sources)}
        return emit_function(self.arguments, emit, types=types | self.epilogue.types(unit.lanes))

    def for_vectors(self, v: Vectors, body: Callable[[Expr, Expr | None], None]) -> None:
        v.for_channels(self.target.channels, body)

    def readers(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, count: int
    ) -> list[Sequence[PixelReader]]:
        """What the sources are read by, for each of ``count`` pixels from (y, x) on."""
        return [sources] * count

    def joined_rows(self, maps: Sequence[View]) -> Size:
        """Rows and columns to loop over; one long row where no row of any map has a border."""
        height, width = self.target.height, self.target.width
        if any(view.halo for view in (*maps, *self.epilogue.views)):
            return height, width
        return 1, height * width

    @abstractmethod
    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        """The result of a vector of channels at the target's pixel (y, x)."""


@dataclass(frozen=True, slots=True)
class PointwiseKernel(PlainKernel):
    """The first source, or its sum with the second, or its product with a gate per channel.

    The epilogue's activation follows; a copy with targets of codes is a quantizer on its own, and
    one that is scaled a batch norm.
    """

    kind: Literal["copy", "add", "scale"] = "copy"

    @property
    def map_size(self) -> Size:
        return self.joined_rows(self.sources if self.kind == "add" else self.sources[:1])

    @property
    def pixels(self) -> int:
        """A few where most of what is loaded are thresholds; else one, in the order of memory."""
        return 4 if self.epilogue.by_threshold else 1

    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        value = sources[0].at(y, x, channel)
        if self.kind == "add":
            return v.rounded(value + sources[1].at(y, x, channel))
        if self.kind == "scale":
            return v.rounded(value * sources[1].at(T.int32(0), T.int32(0), channel))
        return value


@dataclass(frozen=True, slots=True)
class MagnitudeKernel(PlainKernel):
    """Mean of |x| over the channels of each pixel: a map of one channel."""

    def value(
        self, v: Vectors, sources: Sequence[PixelReader], y: Expr, x: Expr, channel: Expr
    ) -> Expr:
        channels = self.source.channels
        whole, rest = divmod(channels, v.lanes)
        total = v.register()
        v.put(total, v.constant(0))
        if whole:
            with T.serial(whole) as block:
                numbers = sources[0].at(y, x, block * v.lanes)
                v.put(total, v.get(total) + T.max(numbers, v.constant(0) - numbers))
        sums = [total[lane] for lane in range(v.lanes)]
        if rest:
            numbers = v.register()
            last = sources[0].at(y, x, T.int32(whole * v.lanes))
            v.put(numbers, T.max(last, v.constant(0) - last))
            sums += [numbers[lane] for lane in range(rest)]
        while len(sums) > 1:
            pairs = [sums[i] + sums[i + 1] for i in range(0, len(sums) - 1, 2)]
            sums = pairs + sums[len(pairs) * 2 :]
        return v.rounded(T.broadcast(sums[0] * T.float32(1 / channels), v.lanes))
