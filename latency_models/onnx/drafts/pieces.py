"""Pieces: what a draft computes besides our operators, until it is folded into one of them.

Arrays of `Affine` are ``gain`` and ``term`` (C,); the others have none. `NormPiece` has those of
a batch norm with our epsilon.
"""

from dataclasses import dataclass
from typing import Literal

from search_spaces.graphs.operators import Shape

CurveKind = Literal["erf", "tanh", "sqrt", "reciprocal"]


class SameShape:
    """Pieces that give the shape of what they read."""

    __slots__ = ()

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Affine(SameShape):
    """A factor and a term for each channel."""


@dataclass(frozen=True, slots=True)
class NormPiece(SameShape):
    """A batch norm, wherever it stands."""


@dataclass(frozen=True, slots=True)
class Clip(SameShape):
    """Numbers kept between two limits."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CurvePiece(SameShape):
    """A function that is only part of one of our activations or norms."""

    kind: CurveKind


@dataclass(frozen=True, slots=True)
class Power(SameShape):
    """Numbers to a whole power."""

    exponent: int


@dataclass(frozen=True, slots=True)
class Product(SameShape):
    """Two maps multiplied number by number; the second may be one number per channel."""


@dataclass(frozen=True, slots=True)
class PerPixel(SameShape):
    """A map, and one number for each of its pixels that is added, or that it is multiplied by."""

    does: Literal["sum", "product"]


@dataclass(frozen=True, slots=True)
class ChannelMean:
    """The mean over the channels of each pixel."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return 1, *inputs[0][1:]


@dataclass(frozen=True, slots=True)
class Border:
    """Zeros around a map: above, left, below, right."""

    top: int
    left: int
    bottom: int
    right: int

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = inputs[0]
        return channels, height + self.top + self.bottom, width + self.left + self.right
