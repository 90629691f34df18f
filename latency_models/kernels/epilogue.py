"""Epilogue: what a kernel does with each result before it writes it, in every form it is read in.

In this order: an integer sum becomes real (times a scale per output channel, times a factor of
its pixel, plus a term per output channel); the residual is added; the activation is applied; then
the result is written to each target: as it is, rounded to codes, or as sign bits and bit planes.
Every operation rounds by itself, so that codes are the same on every machine. Where only bits
follow from a sum, and all in one direction, each bit is a comparison with a threshold instead:
what an epilogue does to a sum never changes direction, except for some activations, so a bit
changes at one sum. That sum is searched for with the very steps it replaces, among all float32
numbers; hence the bits are the same.

This is what there is to do, and its numbers; ``epilogue_code`` writes the code.

*Source:* of thresholds, Umuroglu et al., "FINN", FPGA 2017, https://arxiv.org/abs/1612.07119,
section 4.2.2.

*Differs from the paper:* thresholds are searched for and not computed, so that they follow the
rounding of every step; a channel's codes may fall as its sums grow.

Letters: O output channels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latency_models.kernels.view import Form, View
from search_spaces.graphs.activations import ACTIVATIONS, Activation
from search_spaces.graphs.formats import WORD

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
        scaled: Whether results come as integer sums, as sums of signed numbers, or as numbers of a
            batch norm, to be scaled.
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
    def by_threshold(self) -> bool:
        """Whether every bit that is written is one comparison of the sum or number it is of."""
        alone = self.factor is None and self.residual is None
        packed = all(view.form.kind == "planes" for view in self.targets)
        return alone and packed and ACTIVATIONS[self.activation].monotone

    @property
    def sections(self) -> tuple[int, ...]:
        """How many constants of each channel there are: for sums, then for each target."""
        if self.by_threshold:  # of each target its thresholds, and the sign of sums
            return (0, *(view.form.highest + 1 for view in self.targets))
        return (2 * self.scaled, *(2 * (view.form.bits == 1) for view in self.targets))

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
        if self.by_threshold:
            return self.pack_thresholds(values, padded, places)

        def spread(array: Array | None) -> Array:
            return spread_channels(0 if array is None else array, padded, places, 0)

        parts = [spread(values.scale), spread(values.bias)] if self.scaled else []
        for target in values.targets:
            if isinstance(target, SignNorm):
                parts += [spread(target.gain), spread(target.bias)]
        scalars = [values.residual_step or 0.0]
        scalars += [t.inverse if isinstance(t, CodeStep) else 0.0 for t in values.targets]
        return np.concatenate([*parts, np.array(scalars, np.float32)]).astype(np.float32)

    def pack_thresholds(
        self, values: EpilogueValues, padded: int, places: NDArray[np.intp]
    ) -> Array:
        """Returns, for each target, its thresholds and the sign by which sums are multiplied.

        Places without a channel reach no threshold, so that their bits are zero.
        """
        parts = []
        sums = values if self.scaled else replace(values, scale=None, bias=None)
        for view, target in zip(self.targets, values.targets, strict=True):
            found, falling = target_thresholds(sums, target, view.form, self.activation)
            if self.scaled:
                found = off_zero(found)
            parts += [spread_channels(row, padded, places, np.inf) for row in found]
            sign = np.where(falling, np.float32(-0.0), np.float32(0.0))
            parts.append(spread_channels(sign, padded, places, 0))
        return np.concatenate(parts)


def spread_channels(
    numbers: Array | float, padded: int, places: NDArray[np.intp], filled: float
) -> Array:
    """Returns the numbers of channels at their places among the padded ones."""
    wide = np.full(padded, filled, np.float32)
    wide[places] = numbers
    return wide


def target_thresholds(
    values: EpilogueValues,
    target: TargetValues,
    form: Form,
    activation: Activation,
) -> tuple[Array, NDArray[np.bool_]]:
    """Returns the thresholds (highest code, O) of one target, and which channels fall, (O,).

    A code is at least n where the sum, negated where codes fall, has reached the n-th threshold.
    """
    scale, bias = values.scale, values.bias
    falling = np.zeros(1, np.bool_) if scale is None else scale < 0

    def result(sums: Array) -> Array:
        scaled = sums if scale is None or bias is None else sums * scale + bias
        return ACTIVATIONS[activation].compute(scaled)

    if isinstance(target, SignNorm):
        gain, offset = target.gain, target.bias
        falling = falling ^ (gain < 0)

        def positive(sums: Array) -> NDArray[np.bool_]:
            return np.where(gain == 0, offset, result(sums) * gain + offset) >= 0

        return thresholds(positive, falling)[None], falling
    assert isinstance(target, CodeStep)
    inverse = np.float32(target.inverse)

    def at_least(code: int) -> Array:
        return thresholds(lambda sums: np.rint(result(sums) * inverse) >= code, falling)

    codes = range(1 - form.zero, form.highest - form.zero + 1)
    return np.stack([at_least(code) for code in codes]), falling


def vector_bits(lanes: int) -> int:
    """Channels that one store of packed results covers."""
    return max(8, lanes)


def packable(first_channel: int, lanes: int) -> bool:
    """Whether results from this channel on can be stored to packed maps."""
    return first_channel % vector_bits(lanes) == 0 and WORD % lanes == 0


Truths = NDArray[np.bool_]
LARGEST = 0x7F7FFFFF  # the largest float32 number, as an integer
SMALLEST = np.float32(2.0**-100)
F = np.float32


def thresholds(reached: Callable[[Array], Truths], falling: Truths) -> Array:
    """Returns for each channel the number from which on ``reached`` holds.

    Args:
        reached: Tells for one number of each channel, (O,), whether it holds.
        falling: (O,) channels for which it holds below some number and not above: numbers are
            negated for them, and the threshold is that of the negated numbers.
    """
    sign = np.where(falling, F(-1), F(1))
    low = np.full(len(falling), -LARGEST - 1, np.int64)  # does not hold
    high = np.full(len(falling), LARGEST + 1, np.int64)  # holds
    while (open_still := high - low > 1).any():
        middle = (low + high) // 2
        with np.errstate(over="ignore", invalid="ignore"):
            holds = reached(sign * in_order(np.clip(middle, -LARGEST, LARGEST)))
        low = np.where(open_still & ~holds, middle, low)
        high = np.where(open_still & holds, middle, high)
    found = in_order(np.minimum(high, LARGEST))
    return np.where(high > LARGEST, F(np.inf), found).astype(np.float32)


def off_zero(found: Array) -> Array:
    """Returns thresholds for sums, of which none but zero is nearer to zero than ``SMALLEST``.

    Half of such a threshold is exact, and is a number that no processor takes for zero.
    """
    tiny = (found != 0) & (np.abs(found) < SMALLEST)
    return np.where(tiny, np.copysign(SMALLEST, found), found).astype(np.float32)


def in_order(index: NDArray[np.int64]) -> Array:
    """Returns the float32 numbers of these places, counted from zero in order of size."""
    bits = np.abs(index).astype(np.uint32) | np.where(index < 0, np.uint32(1 << 31), np.uint32(0))
    return bits.astype(np.uint32).view(np.float32)
