"""Labels: where to write names beside points so that they cover neither points nor each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Anchor = Literal["start", "end", "middle"]
Side = tuple[int, int]  # from the point: -1 left or up, 0 level, 1 right or down

SIDES: tuple[Side, ...] = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
ANCHORS: dict[int, Anchor] = {1: "start", -1: "end", 0: "middle"}


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Returns the area that two boxes share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def outside(self, frame: "Box") -> float:
        """Returns the area that lies outside ``frame``."""
        return self.area - self.overlap(frame)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Label:
    """A name with its place; ``x, y`` is where its baseline is anchored."""

    text: str
    side: Side
    x: float
    y: float
    box: Box

    @property
    def anchor(self) -> Anchor:
        return ANCHORS[self.side[0]]


def place_labels(
    names: Sequence[tuple[str, float, float]],
    taken: Sequence[Box],
    frame: Box,
    *,
    font_size: float,
) -> tuple[Label, ...]:
    """Returns a label for each of ``names`` (text, x, y), on its least crowded side.

    Args:
        taken: What is drawn and should stay visible.
    """
    placed: list[Label] = []
    for text, x, y in names:
        candidates = [label_at(text, x, y, side, font_size) for side in SIDES]
        boxes = [*taken, *(label.box for label in placed)]
        placed.append(min(candidates, key=lambda label: crowding(label.box, boxes, frame)))
    return tuple(placed)


def boxes_of_points(points: Iterable[tuple[float, float]]) -> list[Box]:
    return [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]


def boxes_of_line(corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Returns a thin box for each piece of a line that runs level and upright."""
    return [
        Box(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
        for (x0, y0), (x1, y1) in pairwise(corners)
    ]


def crowding(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Returns how much of ``box`` covers something; leaving the frame is worse."""
    return sum(box.overlap(other) for other in taken) + 10 * box.outside(frame)


def label_at(text: str, x: float, y: float, side: Side, font_size: float) -> Label:
    across, down = side
    gap = 9 if across == 0 or down == 0 else 5
    width, height = 0.56 * font_size * len(text), font_size
    anchor_x = x + gap * across
    left = anchor_x - width * (1 - across) / 2
    bottom = y + gap * down + height * (0.35 + 0.45 * down if down >= 0 else 0)
    box = Box(left, bottom - height, left + width, bottom + 0.2 * height)
    return Label(text, side, anchor_x, bottom, box)
