"""Charts: the run's numbers as Plotly figures; colours of text and grid come from the page."""

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from nas.problem.formatting import interval_in_words, milliseconds
from nas.problem.metrics import METRICS, Metric
from nas.problem.pareto import hypervolume, hypervolume_history
from nas.report.drawing.axes import (
    AxisScale,
    Box,
    Plane,
    Point,
    boxes_of_line,
    boxes_of_points,
    place_labels,
)
from nas.report.drawing.html import value_of
from nas.runs.certainty import interval_of
from nas.runs.findings.importance import Importance
from nas.study.results import RunResults, TrialResult
from search_spaces.space.space import describe_genes

FRONT = "#3b82f6"
OTHER = "#8fb3ea"
INFEASIBLE = "#9aa1ab"
STOPPED = "#9b7fd1"
BASELINE = "#e07b2a"
KNEE = "#d6336c"
OBJECTIVES = (FRONT, BASELINE, "#2f9e6e", "#8b5cf6", KNEE, "#0ea5b7", "#a16207")
TYPICAL_SIZE = (860.0, 360.0)  # of the plotting area in pixels, for placing labels
UPRIGHT = {-1: "top", 0: "middle", 1: "bottom"}
ACROSS = {-1: "left", 0: "center", 1: "right"}
HOVER_WIDTH = 64  # characters


def front_chart(results: RunResults, plane: Plane, chosen: TrialResult | None) -> go.Figure:
    """Returns every evaluated architecture, the front and the baselines over two objectives."""
    front = [t for t in results.front if t.baseline is None and t != chosen]
    front_hashes = {t.hash for t in results.front}
    others = [t for t in results.feasible if t.baseline is None and t.hash not in front_hashes]
    figure = go.Figure()
    add_infeasible(figure, results, plane)
    ring = {"size": 7, "color": STOPPED, "symbol": "circle-open", "line": {"width": 1.5}}
    add_points(figure, "stopped early", results.stopped, plane, ring)
    add_points(figure, "dominated", others, plane, {"size": 7, "color": OTHER, "opacity": 0.8})
    add_staircase(figure, plane.staircase(results.feasible))
    add_points(figure, "Pareto front", front, plane, {"size": 10, "color": FRONT}, spread=True)
    add_baselines(figure, results, plane)
    if chosen is not None:
        star = {"size": 17, "color": KNEE, "symbol": "star"}
        add_points(figure, f"knee: {chosen.name}", [chosen], plane, star, spread=True)
    figure.update_xaxes(**axis(plane.x))
    figure.update_yaxes(**axis(plane.y))
    return styled(figure, height=480)


def add_points(
    figure: go.Figure,
    name: str,
    trials: Sequence[TrialResult],
    plane: Plane,
    marker: dict[str, Any],
    *,
    spread: bool = False,
) -> None:
    if not trials:
        return
    points = plane.points(trials)
    figure.add_scatter(
        name=escape(name),
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="markers",
        marker=marker,
        text=[hover(trial) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
    )
    for which, metric in (("error_x", plane.x), ("error_y", plane.y)):
        if spread and metric.name == "latency_ms":
            figure.data[-1].update({which: spread_bars(trials, marker["color"])})


def spread_bars(trials: Sequence[TrialResult], color: str) -> dict[str, Any]:
    """Half the interquartile range to each side."""
    latencies = [trial.evaluation.latency for trial in trials]
    halves = [latency.spread_ms / 2 if latency else 0.0 for latency in latencies]
    return {"type": "data", "array": halves, "color": color, "thickness": 1, "width": 3}


def add_staircase(figure: go.Figure, corners: Sequence[Point]) -> None:
    if not corners:
        return
    figure.add_scatter(
        name="best in these two",
        x=[x for x, _ in corners],
        y=[y for _, y in corners],
        mode="lines",
        line={"color": FRONT, "width": 1.5},
        hoverinfo="skip",
    )


def add_baselines(figure: go.Figure, results: RunResults, plane: Plane) -> None:
    baselines = [trial for trial in results.baselines if trial.evaluation.feasible]
    if not baselines:
        return
    diamond = {"size": 11, "color": BASELINE, "symbol": "diamond"}
    add_points(figure, "baselines", baselines, plane, diamond, spread=True)
    figure.data[-1].update(
        mode="markers+text",
        customdata=[escape(trial.name) for trial in baselines],
        texttemplate="%{customdata}",
        textposition=label_sides(results, baselines, plane),
        textfont={"size": 11},
        cliponaxis=False,
    )


def label_sides(results: RunResults, baselines: Sequence[TrialResult], plane: Plane) -> list[str]:
    """Returns on which side of its point each baseline's name stands."""
    points = plane.points(results.feasible)
    horizontal = AxisScale.around([x for x, _ in points], plane.x)
    vertical = AxisScale.around([y for _, y in points], plane.y)
    width, height = TYPICAL_SIZE

    def pixels(point: Point) -> Point:
        return horizontal.share(point[0]) * width, (1 - vertical.share(point[1])) * height

    taken = boxes_of_points(pixels(point) for point in points)
    lines = [plane.staircase(results.feasible)]
    lines += [plane.spread(trial) for trial in (*results.front, *baselines)]
    for line in lines:
        taken += boxes_of_line([pixels(point) for point in line])
    labels = place_labels(
        [(trial.name, *pixels(plane.point(trial))) for trial in baselines],
        taken,
        Box(0, 0, width, height),
        font_size=11,
    )
    return [f"{UPRIGHT[label.side[1]]} {ACROSS[label.side[0]]}" for label in labels]


def add_infeasible(figure: go.Figure, results: RunResults, plane: Plane) -> None:
    """Adds crosses for infeasible trials; those without a value for y stand at the lower edge."""
    infeasible = results.infeasible
    cross = {"size": 7, "color": INFEASIBLE, "symbol": "x-thin", "line": {"width": 1.5}}
    cross["line"] = {"width": 1.5, "color": INFEASIBLE}
    add_points(figure, "infeasible", [t for t in infeasible if plane.known(t)], plane, cross)
    half_known = [
        trial
        for trial in infeasible
        if plane.x.name in trial.evaluation.values and not plane.known(trial)
    ]
    if not half_known or not results.feasible:
        return
    heights = [plane.point(trial)[1] for trial in results.feasible]
    edge = AxisScale.around(heights, plane.y).value(0.0 if plane.y.sign < 0 else 1.0)
    figure.add_scatter(
        name=f"infeasible, no {plane.y.title}",
        x=[trial.evaluation.values[plane.x.name] for trial in half_known],
        y=[edge] * len(half_known),
        mode="markers",
        marker=cross | {"symbol": "line-ns", "size": 10},
        text=[hover(trial) for trial in half_known],
        hovertemplate="%{text}<extra></extra>",
    )


def hover(trial: TrialResult) -> str:
    """Returns name, values and genes of a trial in Plotly's mark-up."""
    evaluation = trial.evaluation
    lines = [f"<b>{escape(trial.name)}</b>"]
    if not evaluation.feasible:
        lines += [escape(line) for line in wrap(evaluation.reason or "", HOVER_WIDTH)]
    for name in evaluation.values:
        if name not in METRICS:
            continue
        spread = ""
        if name == "latency_ms" and evaluation.latency is not None:
            spread = f" (spread {milliseconds(evaluation.latency.spread_ms)})"
        elif (interval := interval_of(evaluation, METRICS[name], None)) is not None:
            spread = f" ({interval_in_words(interval)})"
        lines.append(f"{METRICS[name].title}: {value_of(trial, METRICS[name])}{spread}")
    if trial.genes:
        lines.append("")
        for stage in describe_genes(trial.genes.items()).splitlines():
            lines += [escape(line) for line in wrap(stage, HOVER_WIDTH, subsequent_indent="  ")]
    return "<br>".join(lines)


def axis(metric: Metric) -> dict[str, Any]:
    if metric.is_quality:
        return {"title": {"text": metric.title, "standoff": 8}, "tickformat": "~%"}
    unit = metric.unit or "count"
    counts = metric.unit != "ms"
    return {
        "title": {"text": f"{metric.title} ({unit}, logarithmic)", "standoff": 8},
        "type": "log",
        "tickformat": "~s" if counts else "~r",
        "minor": {"showgrid": False},
    }


def history_chart(results: RunResults) -> go.Figure:
    """Returns the hypervolume after each finished trial, and that of the baselines alone."""
    feasible, metrics, reference = results.feasible, results.metrics, results.reference
    values = hypervolume_history(results.points(feasible), reference, metrics)
    after = {trial.number: float(value) for trial, value in zip(feasible, values, strict=True)}
    counts, heights, last = [], [], 0.0
    for count, trial in enumerate(results.trials, start=1):
        last = after.get(trial.number, last)
        counts.append(count)
        heights.append(last)
    figure = go.Figure()
    figure.add_scatter(
        name="all so far",
        x=counts,
        y=heights,
        mode="lines+markers" if len(counts) < 40 else "lines",
        line={"color": FRONT, "width": 2, "shape": "hv"},
        hovertemplate="%{y:.4g} after %{x} architectures<extra></extra>",
    )
    baselines = [trial for trial in results.baselines if trial.evaluation.feasible]
    if baselines:
        alone = hypervolume(results.points(baselines), reference, metrics)
        figure.add_scatter(
            name="baselines alone",
            x=[counts[0], counts[-1]],
            y=[alone, alone],
            mode="lines",
            line={"color": BASELINE, "width": 1.5, "dash": "dash"},
            hovertemplate="%{y:.4g}: the baselines alone<extra></extra>",
        )
    figure.update_xaxes(title={"text": "architectures evaluated (baselines included)"})
    units = " x ".join(metric.unit or metric.name for metric in metrics)
    figure.update_yaxes(
        title={"text": f"hypervolume ({units})", "standoff": 8},
        tickformat="~g",
    )
    return styled(figure, height=320)


def importance_chart(importances: Sequence[Importance]) -> go.Figure:
    """Returns a bar for each kind of gene and objective."""
    kinds = list(dict.fromkeys(kind for item in importances for kind, _ in item.kinds))
    shares = [(item.metric, dict(item.kinds)) for item in importances]
    return shares_chart(kinds, shares, "share of importance")


def shares_chart(
    names: Sequence[str], shares: Sequence[tuple[Metric, Mapping[str, float]]], title: str
) -> go.Figure:
    """Returns a bar for each name and objective, from above."""
    figure = go.Figure()
    for (metric, known), color in zip(shares, OBJECTIVES, strict=False):
        figure.add_bar(
            name=f"for {metric.title}",
            x=[known.get(name, 0.0) for name in names],
            y=[escape(name) for name in names],
            orientation="h",
            marker={"color": color},
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    figure.update_xaxes(title={"text": title}, tickformat=".0%")
    figure.update_yaxes(autorange="reversed", automargin=True, ticksuffix=" ")
    figure.update_layout(bargap=0.25)
    return styled(figure, height=130 + (16 * len(shares) + 14) * len(names))


def styled(figure: go.Figure, height: int) -> go.Figure:
    """Returns the figure without colours of its own for paper, text and grid."""
    clear = "rgba(0,0,0,0)"
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"align": "left", "font": {"family": "monospace", "size": 11}},
        hovermode="closest",
    )
    figure.update_xaxes(zeroline=False, showline=True, ticks="outside")
    figure.update_yaxes(zeroline=False, showline=True, ticks="outside", automargin=True)
    return figure
