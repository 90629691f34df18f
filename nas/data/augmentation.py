"""Augmentation: what may happen to a training image; `nas.data.transforms` does it."""

from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.graphs.errors import UserError

Padding = Literal["zero", "reflect"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to a training image; the default changes nothing.

    Attributes:
        flip: Mirror left and right, every other image; wrong for digits and letters.
        shift: The largest move up, down and sideways, as a share of height and width.
        padding: What a move uncovers: black, or the image mirrored at its edge.
        cutout: Side of the square that is blacked out, as a share of height and width; parts of
            it may lie outside the image.
    """

    flip: bool = False
    shift: float = 0.0
    padding: Padding = "zero"
    cutout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 0.5:
            raise UserError(f"augmentation shift must be a share in [0, 0.5], got {self.shift}")
        if not 0 <= self.cutout < 1:
            raise UserError(f"augmentation cutout must be a share in [0, 1), got {self.cutout}")
        if self.padding not in get_args(Padding):
            raise UserError(
                f"augmentation padding must be {' or '.join(get_args(Padding))}, got "
                f"{self.padding!r}"
            )
