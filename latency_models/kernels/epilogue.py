"""Epilogue: what a kernel does with each result before it writes it, in every form it is read in.

In this order: an integer sum becomes real (times a scale per output channel, times a factor of
its pixel, plus a term per output channel); the residual is added; the activation is applied; then
the result is written to each target: as it is, rounded to codes, or as sign bits and bit planes.
Every operation rounds by itself, so that codes are the same on every machine.

Letters: V lanes, O output channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.kernels.emitter import Buffer, Expr, T, Vectors
from latency_models.kernels.view import View
from search_spaces.formats import WORD
from search_spaces.operators import Activation

Array = NDArray[np.float32]
# Added to a float32 number of magnitude up to 2 ** 22, this leaves the rounded number (halves to
# even) in its lowest bits.
ROUNDER = 1.5 * 2**23


@dataclass(frozen=True, slots=True)
class CodeStep:
    """What a target of codes needs: 1 over the step between two codes."""

    inverse: float

    @classmethod
    def of(cls, step: float) -> "CodeStep":
        return cls(float(np.float32(1 / np.float64(step))))


@dataclass(frozen=True, slots=True, eq=False)
class SignNorm:
    """What a target of sign bits needs: the norm before the sign, each (O,)."""

    gain: Array
    bias: Array


TargetValues = CodeStep | SignNorm | None  # None for a real target


@dataclass(frozen=True, slots=True, eq=False)
class EpilogueValues:
    """The numbers of an epilogue; its structure is in ``Epilogue``.

    Attributes:
        scale: Of integer sums, (O,).
        bias: Added after the scale, (O,).
        residual_step: Of a residual of codes.
        targets: One for each target.
    """

    targets: tuple[TargetValues, ...]
    scale: Array | None = None
    bias: Array | None = None
    residual_step: float | None = None


@dataclass(frozen=True, slots=True)
class Epilogue:
    """The end of a kernel.

    Attributes:
        targets: Where results go; all of one shape.
        residual: A map of the targets' shape, real or codes, added before the activation.
        scaled: Whether results come as integer sums, or as sums of signed numbers, to be scaled.
        factor: A map of one channel by which a scaled result is multiplied.
    """

    targets: tuple[View, ...]
    activation: Activation = "none"
    residual: View | None = None
    scaled: bool = False
    factor: View | None = None

    def __post_init__(self) -> None:
        assert self.targets
        assert len({view.shape for view in self.targets}) == 1, self
        assert not any(view.planar for view in self.targets)
        assert self.factor is None or self.scaled

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.targets[0].shape

    @property
    def views(self) -> tuple[View, ...]:
        """Every view it touches."""
        optional = [view for view in (self.factor, self.residual) if view is not None]
        return (*optional, *self.targets)

    @property
    def has_constants(self) -> bool:
        coded = self.residual is not None and self.residual.form.kind != "real"
        return self.scaled or coded or any(v.form.kind != "real" for v in self.targets)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of its arguments, after those of the kernel it ends."""
        names = ["constants"] if self.has_constants else []
        names += ["factor"] if self.factor else []
        names += ["residual"] if self.residual else []
        return (*names, *(f"target{index}" for index in range(len(self.targets))))

    def types(self, lanes: int) -> dict[str, str]:
        """TVM's names of what its arguments point to."""
        types = {"constants": "float32", "factor": "float32"}
        if self.residual is not None:
            types["residual"] = self.residual.form.element
        for index, view in enumerate(self.targets):
            packed = view.form.kind == "planes"
            # Packed results are stored for one vector (or two of 4 lanes) at a time.
            types[f"target{index}"] = f"uint{max(8, lanes)}" if packed else view.form.element
        return types

    def pack(self, values: EpilogueValues, padded: int, places: NDArray[np.intp]) -> Array:
        """Returns the constants as the kernel reads them.

        Args:
            values: The numbers.
            padded: Channels as the kernel counts them, each group rounded up to whole vectors.
            places: For each of the O channels, its place among those.
        """
        if not self.has_constants:
            return np.zeros(0, np.float32)

        def spread(array: Array | None) -> Array:
            wide = np.zeros(padded, np.float32)
            wide[places] = 0 if array is None else array
            return wide

        parts = [spread(values.scale), spread(values.bias)] if self.scaled else []
        for target in values.targets:
            if isinstance(target, SignNorm):
                parts += [spread(target.gain), spread(target.bias)]
        scalars = [values.residual_step or 0.0]
        scalars += [t.inverse if isinstance(t, CodeStep) else 0.0 for t in values.targets]
        return np.concatenate([*parts, np.array(scalars, np.float32)]).astype(np.float32)


class EpilogueEmission:
    """An epilogue being written.

    Args:
        padded: Channels as the kernel counts them, see ``Epilogue.pack``.
        buffers: Those of ``Epilogue.arguments``.
    """

    def __init__(
        self, epilogue: Epilogue, vectors: Vectors, padded: int, buffers: Sequence[Buffer]
    ) -> None:
        self.epilogue, self.v, self.padded = epilogue, vectors, padded
        named = dict(zip(epilogue.arguments, buffers, strict=True))
        self.constants: Buffer = named.get("constants")
        self.factor: Buffer = named.get("factor")
        self.residual: Buffer = named.get("residual")
        self.targets: list[Buffer] = list(buffers[-len(epilogue.targets) :])

    def pixels(self, y: Expr, x: Expr) -> "Pixels":
        """Returns where the pixel (y, x) lies in every map; bind it once for a whole tile."""
        starts = [
            T.bind(y * view.row_stride + x * view.pixel_stride) for view in self.epilogue.views
        ]
        return Pixels(self, starts)

    # Sections of the constants

    def per_channel(self, section: int, padded_channel: Expr) -> Expr:
        return self.v.load(self.constants, padded_channel + section * self.padded)

    def scalar(self, index: int) -> Expr:
        return self.v.load_spread(self.constants, self.num_sections * self.padded + index)

    @property
    def num_sections(self) -> int:
        signs = sum(view.form.bits == 1 for view in self.epilogue.targets)
        return 2 * self.epilogue.scaled + 2 * signs

    def sign_section(self, target: int) -> int:
        before = sum(view.form.bits == 1 for view in self.epilogue.targets[:target])
        return 2 * self.epilogue.scaled + 2 * before


@dataclass(frozen=True, slots=True)
class Pixels:
    """The corner pixel of a tile; ends its results and those of its neighbours."""

    at: EpilogueEmission
    starts: list[Any]

    def finish(
        self,
        row: int,
        column: int,
        values: Sequence[Expr],
        channel: Expr,
        padded_channel: Expr,
        valid: Expr | int | None = None,
    ) -> None:
        """Ends and writes the results of one pixel: ``values``, vectors of adjacent channels.

        Args:
            row: Rows below the corner.
            column: Columns right of the corner.
            values: float32 vectors; int32 ones where the epilogue scales sums of codes.
            channel: First output channel of the first vector; a multiple of the lanes where a
                target is packed.
            padded_channel: Its place among the kernel's channels, see ``Epilogue.pack``.
            valid: Lanes of the last vector that are channels; None for all.
        """
        places = [
            start + (row * view.row_stride + column * view.pixel_stride)
            for start, view in zip(self.starts, self.at.epilogue.views, strict=True)
        ]
        lanes = self.at.v.lanes
        ended = [
            self.end(value, places, channel + j * lanes, padded_channel + j * lanes)
            for j, value in enumerate(values)
        ]
        count = len(self.at.epilogue.targets)
        for index, (view, place) in enumerate(
            zip(self.at.epilogue.targets, places[-count:], strict=True)
        ):
            self.write(index, view, place, ended, channel, padded_channel, valid)

    def end(self, value: Expr, places: list[Any], channel: Expr, padded: Expr) -> Expr:
        """Scale, factor, residual and activation of one vector."""
        at, v = self.at, self.at.v
        epilogue = at.epilogue
        if epilogue.scaled:
            real = T.Cast(f"float32x{v.lanes}", value)
            value = v.rounded(real * at.per_channel(0, padded))
            if epilogue.factor is not None:
                value = v.rounded(value * v.load_spread(at.factor, places[0]))
            value = v.rounded(value + at.per_channel(1, padded))
        if epilogue.residual is not None:
            place = places[0 if epilogue.factor is None else 1]
            value = value + self.residual(place + channel)
        return T.bind(v.activate(epilogue.activation, value))

    def residual(self, offset: Expr) -> Expr:
        at, v = self.at, self.at.v
        assert at.epilogue.residual is not None
        form = at.epilogue.residual.form
        if form.kind == "real":
            return v.load(at.residual, offset)
        return v.decoded(at.residual, offset, form.zero, at.scalar(0))

    def write(
        self,
        index: int,
        view: View,
        place: Expr,
        values: list[Any],
        channel: Expr,
        padded: Expr,
        valid: Expr | int | None,
    ) -> None:
        """Writes the vectors of one pixel to one target."""
        at, v = self.at, self.at.v
        buffer, last = at.targets[index], len(values) - 1
        if view.form.kind == "planes":
            self.write_planes(index, view, place, values, channel, padded, valid)
            return
        for j, value in enumerate(values):
            stored = value
            if view.form.kind == "codes":
                stored = T.Cast(f"uint8x{v.lanes}", self.code(index, view, value))
            offset = place + channel + j * v.lanes
            kind = view.form.element
            v.store(buffer, offset, stored, valid if j == last else None, kind)

    def code(self, index: int, view: View, value: Expr) -> Expr:
        """The code of each lane, as int32 whose lowest 8 bits count."""
        v, form = self.at.v, view.form
        scaled = v.rounded(value * self.at.scalar(1 + index))
        low, high = -form.zero, form.highest - form.zero
        clipped = T.min(T.max(scaled, v.constant(low)), v.constant(high))
        summed = v.rounded(clipped + v.constant(ROUNDER + form.zero))
        return T.reinterpret(f"int32x{v.lanes}", summed)

    def write_planes(
        self,
        index: int,
        view: View,
        place: Expr,
        values: list[Any],
        channel: Expr,
        padded: Expr,
        valid: Expr | int | None,
    ) -> None:
        """Writes bits; the last words are filled up with zeros."""
        v, bits, last = self.at.v, view.form.bits, len(values) - 1
        planes: list[list[Any]] = [[] for _ in range(bits)]
        for j, value in enumerate(values):
            signs = self.bits_of(index, view, value, padded + j * v.lanes)
            for plane, sign in zip(planes, signs, strict=True):
                masks = sign if j < last or valid is None else v.only_first(sign, valid)
                plane.append(masks)
        for number, masks in enumerate(planes):
            v.store_bits(
                self.at.targets[index],
                place + number * view.plane_stride,
                masks,
                channel,
                view.channels,
            )

    def bits_of(self, index: int, view: View, value: Expr, padded: Expr) -> list[Any]:
        """One unsigned integer for each bit of the codes: a bit for each lane."""
        v = self.at.v
        if view.form.bits == 1:
            section = self.at.sign_section(index)
            gained = v.rounded(value * self.at.per_channel(section, padded))
            return [v.at_least_zero(gained + self.at.per_channel(section + 1, padded))]
        code = T.bind(self.code(index, view, value))
        # The bit moves to the sign, and the sign of a float32 number is read as a truth.
        bits = []
        for bit in range(view.form.bits):
            shifted = T.shift_left(code, T.broadcast(T.int32(31 - bit), v.lanes))
            masked = T.bitwise_and(shifted, T.broadcast(T.int32(-(1 << 31)), v.lanes))
            one = T.bitwise_or(masked, T.broadcast(T.int32(0x3F800000), v.lanes))
            bits.append(v.at_least_zero(-T.reinterpret(f"float32x{v.lanes}", one)))
        return bits


def vector_bits(lanes: int) -> int:
    """Channels that one store of packed results covers."""
    return max(8, lanes)


def packable(first_channel: int, lanes: int) -> bool:
    """Whether results from this channel on can be stored to packed maps."""
    return first_channel % vector_bits(lanes) == 0 and WORD % lanes == 0
