"""Axes: two objectives as a plane, its scales, what is attained, and where names stand in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import Literal

import numpy as np

from nas.problem.metrics import Metric
from nas.problem.pareto import non_dominated
from nas.study.results import TrialResult

Point = tuple[float, float]
ROOM = 0.08  # of what is shown, at each end of an axis


@dataclass(frozen=True, slots=True)
class Plane:
    """Two objectives; of a cost and a quality, the cost lies and the quality is upright."""

    x: Metric
    y: Metric

    def known(self, trial: TrialResult) -> bool:
        return self.x.name in trial.evaluation.values and self.y.name in trial.evaluation.values

    def point(self, trial: TrialResult) -> Point:
        values = trial.evaluation.values
        return values[self.x.name], values[self.y.name]

    def points(self, trials: Iterable[TrialResult]) -> list[Point]:
        return [self.point(trial) for trial in trials]

    def spread(self, trial: TrialResult) -> list[Point]:
        """Returns both ends of the bar that shows the spread of the latency; () without one."""
        latency = trial.evaluation.latency
        if latency is None or "latency_ms" not in (self.x.name, self.y.name):
            return []
        x, y = self.point(trial)
        half = min(latency.spread_ms / 2, 0.9 * latency.median_ms)  # a logarithm needs more than 0
        if self.x.name == "latency_ms":
            return [(x - half, y), (x + half, y)]
        return [(x, y - half), (x, y + half)]

    def staircase(self, trials: Sequence[TrialResult]) -> list[Point]:
        """Returns the corners of the line that bounds what ``trials`` attain in this plane."""
        points = self.points(trials)
        metrics = (self.x, self.y)
        array = np.array(points, dtype=np.float64).reshape(-1, 2)
        best = [p for p, kept in zip(points, non_dominated(array, metrics), strict=True) if kept]
        best.sort(key=lambda point: (self.x.sign * point[0], self.y.sign * point[1]))
        corners = best[:1]
        for before, point in pairwise(best):
            corners += [(point[0], before[1]), point]
        return corners


def planes(metrics: Sequence[Metric]) -> tuple[Plane, ...]:
    """Returns the first objective against every other."""
    first, *others = metrics
    return tuple(
        Plane(first, other)
        if other.direction == "maximize" and first.direction == "minimize"
        else Plane(other, first)
        for other in others
    )


@dataclass(frozen=True, slots=True)
class AxisScale:
    """Values along an axis; ``low`` and ``high`` are the ends, with some room."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def around(cls, values: Sequence[float], metric: Metric) -> "AxisScale":
        """Returns the scale that shows ``values``: costs by their logarithm.

        A value alone stands in the middle.
        """
        logarithmic = metric.direction == "minimize" and min(values) > 0
        turned = [log10(value) if logarithmic else value for value in values]
        low, high = min(turned), max(turned)
        span = (high - low) or (0.5 if logarithmic else abs(high) or 1.0)
        return cls(low - ROOM * span, high + ROOM * span, logarithmic)

    def share(self, value: float) -> float:
        """Returns where ``value`` stands, 0 at the low and 1 at the high end."""
        turned = log10(value) if self.logarithmic else value
        return (turned - self.low) / (self.high - self.low)

    def value(self, share: float) -> float:
        turned = self.low + share * (self.high - self.low)
        return 10**turned if self.logarithmic else turned

    def ticks(self, most: int = 7) -> tuple[float, ...]:
        """Returns round values within the scale, as many as fit and at most ``most``.

        >>> AxisScale(-1.0, 1.0, logarithmic=True).ticks()
        (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
        >>> AxisScale(0.9, 0.99, logarithmic=False).ticks()
        (0.9, 0.92, 0.94, 0.96, 0.98)
        """
        if self.logarithmic:
            for digits in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
                ticks = self.decades(digits)
                if 3 <= len(ticks) <= most:
                    return ticks
            return self.steps(10**self.low, 10**self.high, most)
        return self.steps(self.low, self.high, most)

    def decades(self, digits: tuple[int, ...]) -> tuple[float, ...]:
        values = (
            float(f"{digit}e{power}")
            for power in range(floor(self.low), ceil(self.high) + 1)
            for digit in digits
        )
        return tuple(value for value in values if -1e-9 <= self.share(value) <= 1 + 1e-9)

    def steps(self, low: float, high: float, most: int) -> tuple[float, ...]:
        power = floor(log10((high - low) / most))
        for factor in (1, 2, 5, 10):
            step = factor * 10.0**power
            first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
            if last - first < most:
                return tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))
        raise AssertionError("a tenth of a decade more always fits")


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
