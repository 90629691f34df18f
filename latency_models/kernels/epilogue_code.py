"""Code of an epilogue: what ``epilogue`` says, done to the results of a tile in registers.

Where there are registers for the constants of a vector of channels, they are loaded once for all
pixels; else the results of a pixel are written before the next.

Letters: V lanes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from latency_models.codegen.activations import activated
from latency_models.codegen.emitter import Buffer, Expr, T, Vectors
from latency_models.kernels.epilogue import ROUNDER, Epilogue, vector_bits
from latency_models.kernels.view import View

Pixel = tuple[int, int]  # rows and columns from a tile's corner
SPARE = 5  # registers that ending a result takes, beside its constants


class EpilogueEmission:
    """An epilogue being written.

    Args:
        padded: Channels as the kernel counts them, see ``Epilogue.pack``.
        buffers: Those of ``Epilogue.arguments``.
        worth: Power of two by which sums are yet to be multiplied.
    """

    def __init__(
        self,
        epilogue: Epilogue,
        vectors: Vectors,
        padded: int,
        buffers: Sequence[Buffer],
        worth: int = 1,
    ) -> None:
        self.epilogue, self.v, self.padded, self.worth = epilogue, vectors, padded, worth
        named = dict(zip(epilogue.arguments, buffers, strict=True))
        self.constants: Buffer = named.get("constants")
        self.factor: Buffer = named.get("factor")
        self.residual: Buffer = named.get("residual")
        self.targets: list[Buffer] = list(buffers[-len(epilogue.targets) :])
        # Of constants by threshold, those that are signs: the last of each section.
        self.signs = {end - 1 for end in accumulate(epilogue.sections)}

    def finish(
        self,
        y: Expr,
        x: Expr,
        results: Mapping[Pixel, Sequence[Expr]],
        channel: Expr,
        padded_channel: Expr,
        valid: Expr | int | None = None,
    ) -> None:
        """Ends and writes the results of a tile.

        Args:
            y: Row of the tile's corner.
            x: Column of the tile's corner.
            results: Of each pixel, vectors of adjacent channels: float32, or int32 where the
                epilogue scales sums of codes.
            channel: First output channel of the first vector; a multiple of the lanes where a
                target is packed.
            padded_channel: Its place among the kernel's channels, see ``Epilogue.pack``.
            valid: Lanes of the last vector that are channels; None for all.
        """
        views, lanes = self.epilogue.views, self.v.lanes
        starts = [T.bind(y * view.row_stride + x * view.pixel_stride) for view in views]
        packed = any(view.form.kind == "planes" for view in self.epilogue.targets)
        together = vector_bits(lanes) // lanes if packed else 1  # two vectors fill a byte
        count = len(next(iter(results.values())))
        hold = self.fit(len(results) * count, together)

        def constants(first: int) -> list[_Channels]:
            return [
                _Channels(self, channel + j * lanes, padded_channel + j * lanes, hold)
                for j in range(first, min(first + together, count))
            ]

        def write(pixel: Pixel, first: int, vectors: list[_Channels]) -> None:
            places = [
                start + (pixel[0] * view.row_stride + pixel[1] * view.pixel_stride)
                for start, view in zip(starts, views, strict=True)
            ]
            last = valid if first + together >= count else None
            _Results(self, vectors, places, last).write(results[pixel][first : first + together])

        if hold:
            for first in range(0, count, together):
                vectors = constants(first)
                for pixel in results:
                    write(pixel, first, vectors)
        else:
            for pixel in results:
                for first in range(0, count, together):
                    write(pixel, first, constants(first))

    def fit(self, results: int, together: int) -> bool:
        """Whether constants fit into registers beside the results."""
        constants = sum(self.epilogue.sections) + len(self.epilogue.targets)
        return results + constants * together + SPARE <= self.v.unit.registers

    def scalar(self, index: int) -> Expr:
        place = sum(self.epilogue.sections) * self.padded + index
        return self.v.load_spread(self.constants, T.int32(place))


class _Channels:
    """The constants of one vector of channels: loaded now if they are held, else when used.

    Attributes:
        channel: First of the channels.
        padded: Its place among the kernel's channels.
    """

    def __init__(self, at: EpilogueEmission, channel: Expr, padded: Expr, hold: bool) -> None:
        self.at, self.channel, self.padded = at, channel, padded
        self.held: dict[int, Expr] = {}
        if hold:
            self.held = {n: self.load(n) for n in range(sum(at.epilogue.sections))}

    def get(self, section: int, index: int) -> Expr:
        """Constant ``index`` of a section: 0 for sums, then one for each target."""
        number = sum(self.at.epilogue.sections[:section]) + index
        return self.held[number] if number in self.held else self.load(number)

    def load(self, number: int) -> Expr:
        at, v = self.at, self.at.v
        epilogue, place = at.epilogue, self.padded + number * at.padded
        constant = v.load(at.constants, place)
        if epilogue.by_threshold:
            return constant if number in at.signs else self.times(constant, 1 / at.worth)
        return self.times(constant, at.worth if epilogue.scaled and number == 0 else 1)

    def times(self, constant: Expr, factor: float) -> Expr:
        """An exact product: the factor is a power of two."""
        return T.bind(constant * self.at.v.constant(factor)) if factor != 1 else constant


@dataclass(frozen=True, slots=True)
class _Results:
    """The results of one pixel in a few vectors of channels.

    Attributes:
        places: Of the pixel in each of the epilogue's views.
        valid: Lanes of the last vector that are channels; None for all.
    """

    at: EpilogueEmission
    vectors: list[_Channels]
    places: list[Any]
    valid: Any

    def write(self, values: Sequence[Expr]) -> None:
        """Ends the results and writes them to every target."""
        at, targets = self.at, self.at.epilogue.targets
        places = self.places[-len(targets) :]
        if at.epilogue.by_threshold:
            ended = [T.bind(T.Cast(f"float32x{at.v.lanes}", value)) for value in values]
        else:
            ended = [self.end(*pair) for pair in zip(values, self.vectors, strict=True)]
        for index, (view, place) in enumerate(zip(targets, places, strict=True)):
            if view.form.kind == "planes":
                self.write_planes(index, view, place, ended)
                continue
            for value, channels in zip(ended, self.vectors, strict=True):
                coded = view.form.kind == "codes"
                stored = self.code(index, view, value) if coded else value
                if coded:
                    stored = T.Cast(f"uint8x{at.v.lanes}", stored)
                valid = self.valid if channels is self.vectors[-1] else None
                at.v.store(
                    at.targets[index], place + channels.channel, stored, valid, view.form.element
                )

    def end(self, value: Expr, channels: _Channels) -> Expr:
        """Scale, factor, residual and activation of one vector."""
        at, v = self.at, self.at.v
        epilogue = at.epilogue
        if epilogue.scaled:
            real = T.Cast(f"float32x{v.lanes}", value)
            value = v.rounded(real * channels.get(0, 0))
            if epilogue.factor is not None:
                value = v.rounded(value * v.load_spread(at.factor, self.places[0]))
            value = v.rounded(value + channels.get(0, 1))
        if epilogue.residual is not None:
            place = self.places[0 if epilogue.factor is None else 1]
            value = value + self.residual(place + channels.channel)
        return T.bind(activated(v, epilogue.activation, value))

    def residual(self, offset: Expr) -> Expr:
        at, v = self.at, self.at.v
        assert at.epilogue.residual is not None
        form = at.epilogue.residual.form
        if form.kind == "real":
            return v.load(at.residual, offset)
        return v.decoded(at.residual, offset, form.zero, at.scalar(0))

    def code(self, index: int, view: View, value: Expr) -> Expr:
        """The code of each lane, as int32 whose lowest 8 bits count."""
        v, form = self.at.v, view.form
        scaled = v.rounded(value * self.at.scalar(1 + index))
        low, high = -form.zero, form.highest - form.zero
        clipped = T.min(T.max(scaled, v.constant(low)), v.constant(high))
        summed = v.rounded(clipped + v.constant(ROUNDER + form.zero))
        return T.reinterpret(f"int32x{v.lanes}", summed)

    def write_planes(self, index: int, view: View, place: Expr, values: list[Any]) -> None:
        """Writes bits; the last words are filled up with zeros."""
        v = self.at.v
        planes: list[list[Any]] = [[] for _ in range(view.form.bits)]
        for value, channels in zip(values, self.vectors, strict=True):
            if self.at.epilogue.by_threshold:
                signs = self.reached(index, view, value, channels)
            else:
                signs = self.bits_of(index, view, value, channels)
                if self.valid is not None and channels is self.vectors[-1]:
                    signs = [v.only_first(sign, self.valid) for sign in signs]
            for plane, sign in zip(planes, signs, strict=True):
                plane.append(sign)
        for number, masks in enumerate(planes):
            v.store_bits(
                self.at.targets[index],
                place + number * view.plane_stride,
                masks,
                self.vectors[0].channel,
                view.channels,
            )

    def bits_of(self, index: int, view: View, value: Expr, channels: _Channels) -> list[Any]:
        """One unsigned integer for each bit of the codes: a bit for each lane."""
        v = self.at.v
        if view.form.bits == 1:
            gained = v.rounded(value * channels.get(1 + index, 0))
            return [v.at_least(gained + channels.get(1 + index, 1), v.constant(0))]
        code = T.bind(self.code(index, view, value))
        return [v.bit_of(code, bit) for bit in range(view.form.bits)]

    def reached(self, index: int, view: View, value: Expr, channels: _Channels) -> list[Any]:
        """The same bits, of sums that are compared with thresholds."""
        v, highest = self.at.v, view.form.highest
        bounds = [channels.get(1 + index, level) for level in range(highest)]
        value = v.with_sign(value, channels.get(1 + index, highest))
        if view.form.bits == 1:
            return [v.at_least(value, bounds[0])]
        low, middle, high = bounds
        # The first bit depends on the threshold above or below the middle one.
        other = T.bind(T.Select(value >= middle, high, low))
        return [v.at_least(value, other), v.at_least(value, middle)]
