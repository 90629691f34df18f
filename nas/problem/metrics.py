"""Metrics: the numbers a search can optimise or bound, each with unit, direction and source."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search_spaces.graphs.errors import UserError

Direction = Literal["minimize", "maximize"]
Phase = Literal["cost", "latency", "training"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that an evaluated architecture has.

    Attributes:
        phase: What it takes to know it: the graph alone, a measurement, or training. Constraints
            are checked as soon as their phase is over.
        worst: Finite value told to the sampler where the number could not be had.
        title: For axes and tables.
        is_quality: Whether it is a share, in 0..1, of what a trained network gets right.
    """

    name: str
    unit: str
    direction: Direction
    phase: Phase
    worst: float
    title: str
    is_quality: bool = False

    @property
    def sign(self) -> float:
        """1 where smaller is better, -1 where larger is."""
        return 1.0 if self.direction == "minimize" else -1.0


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "", "maximize", "training", 0.0, "validation accuracy", True),
        Metric("balanced_accuracy", "", "maximize", "training", 0.0, "balanced accuracy", True),
        Metric("macro_f1", "", "maximize", "training", 0.0, "macro F1", True),
        Metric("latency_ms", "ms", "minimize", "latency", 1e9, "latency"),
        Metric("macs", "", "minimize", "cost", 1e15, "multiply-accumulates"),
        Metric("params", "", "minimize", "cost", 1e15, "parameters"),
        Metric("memory_access_bytes", "B", "minimize", "cost", 1e15, "memory access"),
        Metric("size_bytes", "B", "minimize", "cost", 1e15, "weight size"),
        Metric("peak_activation_bytes", "B", "minimize", "cost", 1e15, "peak activation memory"),
        Metric("archive_bytes", "B", "minimize", "training", 1e15, "archive size"),
    )
}

ARCHIVE_BYTES = "archive_bytes"  # the metric that needs the trained arrays
QUALITIES = tuple(metric for metric in METRICS.values() if metric.is_quality)


def get_metric(name: str) -> Metric:
    """Returns the metric called ``name``.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name not in METRICS:
        raise UserError(f"unknown metric {name!r}; known metrics: {', '.join(METRICS)}")
    return METRICS[name]


@dataclass(frozen=True, slots=True)
class Constraint:
    """A hard bound on a metric, e.g. ``latency_ms <= 2``."""

    metric: Metric
    at_most: bool
    limit: float

    def violation(self, value: float) -> float:
        """Returns how far ``value`` is past the limit, as a share of it; <= 0 where it holds."""
        excess = value - self.limit if self.at_most else self.limit - value
        return excess / max(abs(self.limit), 1e-12)

    def broken_by(self, value: float) -> str:
        """Returns in words how far a ``value`` that breaks it is past the limit, in units.

        >>> parse_constraint("params <= 418").broken_by(426)
        'params <= 418 is violated by 8 (426)'
        >>> parse_constraint("latency_ms <= 2").broken_by(2.5)
        'latency_ms <= 2 is violated by 0.5 ms (2.5 ms)'
        """
        unit = f" {self.metric.unit}".rstrip()
        past = abs(value - self.limit)
        return f"{self} is violated by {past:.6g}{unit} ({value:.6g}{unit})"

    def __str__(self) -> str:
        return f"{self.metric.name} {'<=' if self.at_most else '>='} {self.limit:g}"


def parse_constraint(text: str) -> Constraint:
    """Returns the constraint that ``text`` states, e.g. ``"macs <= 1e6"``.

    Raises:
        UserError: If it is not ``metric <= number`` or ``metric >= number``.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([-+.\w]+)\s*", text)
    try:
        if match is None:
            raise ValueError
        limit = float(match[3])
        if not math.isfinite(limit):  # such a bound would hold always, or say nothing
            raise ValueError
    except ValueError:
        raise UserError(
            f"constraint {text!r} must read 'metric <= number' or 'metric >= number', e.g. "
            "'latency_ms <= 2'"
        ) from None
    return Constraint(get_metric(match[1]), match[2] == "<=", limit)


def violations(
    constraints: tuple[Constraint, ...], values: Mapping[str, float]
) -> dict[str, float]:
    """Returns the violation of every constraint whose metric is known, by constraint."""
    return {
        str(constraint): constraint.violation(values[constraint.metric.name])
        for constraint in constraints
        if constraint.metric.name in values
    }
