"""Picture: the front as a small SVG file that needs no browser and follows light and dark."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from nas.problem.formatting import scaled
from nas.problem.metrics import Metric
from nas.report.drawing.axes import (
    AxisScale,
    Box,
    Plane,
    Point,
    boxes_of_line,
    boxes_of_points,
    place_labels,
    planes,
)
from nas.runs.files import write_whole
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.errors import UserError

WIDTH, HEIGHT = 760, 440
FRAME = Box(76, 48, 740, 384)
FONT = 12

STYLE = """
text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1d232b; }
.page { fill: #ffffff; }
.quiet { fill: #5c6673; }
.grid { stroke: #e3e6eb; }
.frame { stroke: #b4bcc6; fill: none; }
.other { fill: #8fb3ea; fill-opacity: 0.75; }
.line { stroke: #3b82f6; stroke-width: 1.5; fill: none; }
.front { fill: #3b82f6; }
.baseline { fill: #e07b2a; }
.knee { fill: #d6336c; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e9ed; }
  .page { fill: #0d1117; }
  .quiet { fill: #9aa5b1; }
  .grid { stroke: #2b323a; }
  .frame { stroke: #55606c; }
  .other { fill: #5878ab; }
}
"""


def save_front_picture(results: RunResults, path: Path) -> Path:
    """Writes the front over the first two objectives as an SVG file and returns its path.

    Raises:
        UserError: If nothing feasible was found, or ``path`` does not end in ``.svg``.
    """
    if path.suffix != ".svg":
        raise UserError(f"the picture is written as SVG, got {path.name}; end its name in .svg")
    write_whole(path, front_svg(results).encode())
    return path


def front_svg(results: RunResults) -> str:
    """Returns the picture; see ``save_front_picture``."""
    feasible = results.feasible
    if not feasible:
        raise UserError(f"{results.run.path}: no feasible architecture was found yet to draw")
    plane = planes(results.metrics)[0]
    canvas = Canvas(plane, plane.points(feasible))
    front = results.front
    knee = results.pick("knee")
    on_front = {trial.hash for trial in front}
    parts = [*canvas.axes()]
    for trial in feasible:
        if trial.baseline is None and trial.hash not in on_front:
            parts.append(canvas.mark(plane.point(trial), "other", 3.5))
    corners = plane.staircase(feasible)
    parts.append(canvas.path(corners, "line"))
    for trial in front:
        if trial.baseline is None and trial != knee:
            parts.append(canvas.mark(plane.point(trial), "front"))
    for trial in results.baselines:
        if trial.evaluation.feasible:
            parts.append(canvas.mark(plane.point(trial), "baseline"))
    parts.append(canvas.mark(plane.point(knee), "knee"))
    named = [t for t in results.baselines if t.evaluation.feasible and t != knee]
    parts += canvas.names(named, plane.points(feasible), corners)
    parts += legend(results)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(plane.y.title)} against {escape(plane.x.title)}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


class Canvas:
    """Draws values of a plane as SVG elements."""

    def __init__(self, plane: Plane, points: Sequence[Point]) -> None:
        self.plane = plane
        self.horizontal = AxisScale.around([x for x, _ in points], plane.x)
        self.vertical = AxisScale.around([y for _, y in points], plane.y)

    def pixels(self, point: Point) -> Point:
        """Returns where ``point`` is drawn."""
        x = FRAME.left + self.horizontal.share(point[0]) * (FRAME.right - FRAME.left)
        y = FRAME.bottom - self.vertical.share(point[1]) * (FRAME.bottom - FRAME.top)
        return x, y

    def mark(self, point: Point, kind: str, radius: float = 5) -> str:
        return mark(*self.pixels(point), kind, radius)

    def path(self, points: Sequence[Point], kind: str) -> str:
        """Returns a line through ``points``."""
        corners = " L".join(f"{x:.1f},{y:.1f}" for x, y in map(self.pixels, points))
        return f'<path class="{kind}" d="M{corners}"/>'

    def axes(self) -> list[str]:
        """Returns frame, grid, ticks and titles."""
        parts = []
        for value in self.horizontal.ticks():
            x, _ = self.pixels((value, 0.0 if not self.vertical.logarithmic else 1.0))
            parts.append(segment(x, FRAME.top, x, FRAME.bottom))
            parts.append(text(x, FRAME.bottom + 18, tick(self.plane.x, value), "middle", "quiet"))
        for value in self.vertical.ticks(6):
            _, y = self.pixels((1.0, value))
            parts.append(segment(FRAME.left, y, FRAME.right, y))
            parts.append(text(FRAME.left - 8, y + 4, tick(self.plane.y, value), "end", "quiet"))
        width, height = FRAME.right - FRAME.left, FRAME.bottom - FRAME.top
        parts.append(
            f'<rect class="frame" x="{FRAME.left}" y="{FRAME.top}" width="{width}" '
            f'height="{height}"/>'
        )
        middle_x, middle_y = (FRAME.left + FRAME.right) / 2, (FRAME.top + FRAME.bottom) / 2
        parts.append(text(middle_x, HEIGHT - 14, axis_title(self.plane.x), "middle"))
        parts.append(
            f'<g transform="translate(18 {middle_y}) rotate(-90)">'
            f"{text(0, 0, axis_title(self.plane.y), 'middle')}</g>"
        )
        return parts

    def names(
        self, trials: Sequence[TrialResult], points: Sequence[Point], corners: Sequence[Point]
    ) -> list[str]:
        """Returns the names of ``trials``, each where it covers the least."""
        taken = boxes_of_points(self.pixels(point) for point in points)
        labels = place_labels(
            [(trial.name, *self.pixels(self.plane.point(trial))) for trial in trials],
            taken + boxes_of_line([self.pixels(point) for point in corners]),
            FRAME,
            font_size=FONT,
        )
        return [text(label.x, label.y, label.text, label.anchor) for label in labels]


def legend(results: RunResults) -> list[str]:
    """Returns what the marks mean, in a row above the frame."""
    entries = [("other", "evaluated"), ("front", "Pareto front"), ("knee", "knee")]
    if results.baselines:
        entries.append(("baseline", "published networks"))
    parts, x, y = [], FRAME.left + 6, 28.0
    for kind, name in entries:
        parts.append(mark(x, y - 4, kind))
        parts.append(text(x + 12, y, name, "start", "quiet"))
        x += 46 + 6.6 * len(name)
    return parts


def mark(x: float, y: float, kind: str, radius: float = 5) -> str:
    """Returns the star of the knee, the diamond of a published network, or else a circle."""
    if kind == "knee":
        return f'<path class="{kind}" d="{star_at(x, y)}"/>'
    if kind == "baseline":
        return f'<path class="{kind}" d="{diamond_at(x, y)}"/>'
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def diamond_at(x: float, y: float, size: float = 6) -> str:
    return f"M{x:.1f},{y - size:.1f} l{size},{size} l{-size},{size} l{-size},{-size} z"


def star_at(x: float, y: float) -> str:
    """A five-pointed star of ten pixels around (x, y)."""
    corners = (
        (0.0, -10.0), (2.4, -3.3), (9.5, -3.1), (3.9, 1.3), (5.9, 8.1),
        (0.0, 4.1), (-5.9, 8.1), (-3.9, 1.3), (-9.5, -3.1), (-2.4, -3.3),
    )  # fmt: skip
    return "M" + " L".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners) + " z"


def segment(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path class="grid" d="M{x0:.1f},{y0:.1f} L{x1:.1f},{y1:.1f}"/>'


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    classes = f' class="{kind}"' if kind else ""
    return f'<text{classes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def tick(metric: Metric, value: float) -> str:
    if metric.is_quality:
        return f"{100 * value:.4g} %"
    return f"{value:g}" if metric.unit == "ms" else scaled(value).replace(".00", "")


def axis_title(metric: Metric) -> str:
    notes = [metric.unit] if metric.unit else []
    notes += ["logarithmic"] if metric.direction == "minimize" else []
    return f"{metric.title} ({', '.join(notes)})" if notes else metric.title
