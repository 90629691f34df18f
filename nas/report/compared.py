"""Compared: the fronts of several runs as one HTML page, in a chart and side by side."""

from html import escape
from pathlib import Path

import plotly.graph_objects as go

from nas.problem.formatting import shown
from nas.report.drawing.axes import Plane, planes
from nas.report.drawing.charts import OBJECTIVES, axis, hover, styled
from nas.report.drawing.html import Html, details, join, table, tag, value_of
from nas.report.page import Charts, document
from nas.runs.files import write_whole
from nas.runs.findings.compared_runs import Comparison


def write_comparison(found: Comparison, path: Path) -> None:
    """Writes a comparison as a page.

    Raises:
        UserError: If the disk is full.
    """
    charts, names = Charts(), ", ".join(found.names)
    corner = ", ".join(
        f"{metric.title} {shown(metric, value)}"
        for metric, value in zip(found.metrics, found.reference, strict=True)
    )
    note = (
        f"Hypervolumes go up to one reference point for all, {corner}. A network is beaten by a "
        "run that has one which is nowhere worse and somewhere better; in the chart it is a ring."
    )
    body = join(
        tag("header", tag("h1", names)),
        *(charts.add(fronts_chart(found, plane)) for plane in planes(found.metrics)),
        runs_table(found),
        tag("p", note, classes="quiet"),
        tag("h2", "All fronts"),
        points_table(found),
        *differing(found),
    )
    page = document(f"{names}: compared", body, has_charts=True)
    write_whole(path, page.encode())


def fronts_chart(found: Comparison, plane: Plane) -> go.Figure:
    """Returns the front of each run in one plane, those that no run beats filled."""
    figure = go.Figure()
    for run, name in enumerate(found.names):
        color = OBJECTIVES[run % len(OBJECTIVES)]
        front = found.front(run)
        if not front:
            continue
        corners = plane.staircase([point.trial for point in front])
        line = {"color": color, "width": 1.5}
        figure.add_scatter(
            x=[x for x, _ in corners],
            y=[y for _, y in corners],
            mode="lines",
            line=line,
            hoverinfo="skip",
            showlegend=False,
            legendgroup=str(run),
        )
        at = plane.points(point.trial for point in front)
        figure.add_scatter(
            name=escape(name),
            x=[x for x, _ in at],
            y=[y for _, y in at],
            mode="markers",
            marker={
                "size": 10,
                "color": color,
                "line": {"color": color, "width": 1.5},
                "symbol": ["circle-open" if point.beaten_by else "circle" for point in front],
            },
            text=[hover(point.trial) for point in front],
            hovertemplate="%{text}<extra></extra>",
            legendgroup=str(run),
        )
    figure.update_xaxes(**axis(plane.x))
    figure.update_yaxes(**axis(plane.y))
    return styled(figure, height=480)


def runs_table(found: Comparison) -> Html:
    numbers = range(len(found.names))
    head = ["run", "front", "hypervolume", "unbeaten", *(f"beaten by {n}" for n in found.names)]
    rows = []
    for run in numbers:
        front = len(found.front(run))
        beaten = ("" if run == by else f"{found.beats(by, run)} of {front}" for by in numbers)
        sizes = (front, f"{found.hypervolumes[run]:.4g}", found.on_joint_front(run))
        rows.append([found.names[run], *sizes, *beaten])
    best = max(numbers, key=lambda run: found.hypervolumes[run])
    return table(head, rows, numbers=range(1, len(head)), marked=[best])


def points_table(found: Comparison) -> Html:
    head = ["run", "network", *(metric.title for metric in found.metrics), "beaten by"]
    rows = [
        [
            found.names[point.run],
            point.trial.name,
            *(value_of(point.trial, metric) for metric in found.metrics),
            ", ".join(found.names[run] for run in point.beaten_by),
        ]
        for point in found.points
    ]
    unbeaten = [row for row, point in enumerate(found.points) if not point.beaten_by]
    numbers = range(2, 2 + len(found.metrics))
    return table(head, rows, numbers=numbers, wide=len(head) - 1, marked=unbeaten)


def differing(found: Comparison) -> list[Html]:
    if not found.differences:
        return []
    return [details("What their run files differ in", tag("pre", "\n".join(found.differences)))]
