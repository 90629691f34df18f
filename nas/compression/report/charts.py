"""Charts of a compression: accuracy over cost, learning curves, and scales of norms."""

import itertools
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from nas.compression.layer_curves import LayerCurve
from nas.compression.running.records import StepRecord
from nas.problem.answers import wilson
from nas.problem.formatting import milliseconds, scaled
from nas.report.drawing.charts import BASELINE, FRONT, INFEASIBLE, KNEE, OBJECTIVES, styled


def way_chart(records: Sequence[StepRecord], original: StepRecord, kept: StepRecord) -> go.Figure:
    """Returns accuracy over latency after each step, or over MACs where a latency is missing."""
    drawn = [r for r in records if r.made_one and r.number >= original.number]
    by_time = all(record.standing.latency_ms is not None for record in drawn)
    costs = [
        (record.standing.latency_ms or 0.0) if by_time else float(record.standing.macs)
        for record in drawn
    ]
    scores = [record.standing.accuracy for record in drawn]
    sure = [wilson(r.standing.accuracy, r.standing.num_validation) for r in drawn]
    colors = [color_of(record, original, kept) for record in drawn]
    figure = go.Figure()
    figure.add_scatter(
        name="network after each step",
        x=costs,
        y=scores,
        mode="lines+markers+text",
        line={"color": INFEASIBLE, "width": 1, "dash": "dot"},
        marker={"size": 11, "color": colors},
        text=[escape(record.title) for record in drawn],
        textposition=[("top center", "bottom center")[index % 2] for index in range(len(drawn))],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [each.high - score for each, score in zip(sure, scores, strict=True)],
            "arrayminus": [score - each.low for each, score in zip(sure, scores, strict=True)],
            "color": INFEASIBLE,
            "thickness": 1,
            "width": 3,
        },
        customdata=[milliseconds(cost) if by_time else f"{scaled(cost)} MACs" for cost in costs],
        hovertemplate="%{text}: %{y:.2%}, %{customdata}<extra></extra>",
        cliponaxis=False,
    )
    title = "latency (ms)" if by_time else "multiply-accumulates"
    figure.update_xaxes(title={"text": title}, rangemode="tozero", tickformat="~s")
    figure.update_yaxes(title={"text": "validation accuracy", "standoff": 8}, tickformat="~%")
    return styled(figure, height=420)


def color_of(record: StepRecord, original: StepRecord, kept: StepRecord) -> str:
    if record.number == kept.number:
        return KNEE
    return BASELINE if record.number == original.number else FRONT


def curves_chart(records: Sequence[StepRecord]) -> go.Figure:
    """Returns validation accuracy after each epoch of all trainings, one after the other."""
    figure, epoch = go.Figure(), 0
    for record in records:
        color = OBJECTIVES[record.number % len(OBJECTIVES)]
        for curve in record.curves:
            heights = list(curve.validation_accuracy)
            name = f"{record.title}{f' ({curve.what})' if curve.what else ''}"
            figure.add_scatter(
                name=escape(name),
                x=list(range(epoch + 1, epoch + len(heights) + 1)),
                y=heights,
                mode="lines+markers" if len(heights) < 40 else "lines",
                line={"color": color, "width": 2},
                hovertemplate="%{y:.2%} after epoch %{x}<extra>%{fullData.name}</extra>",
            )
            epoch += len(heights)
    figure.update_xaxes(title={"text": "epochs of all steps"}, rangemode="tozero")
    figure.update_yaxes(title={"text": "validation accuracy", "standoff": 8}, tickformat="~%")
    return styled(figure, height=380)


def scales_chart(record: StepRecord) -> go.Figure:
    """Returns how many scales of batch norms are of which size, before and after a step."""
    figure = go.Figure()
    for (name, found), color in zip(record.histograms.items(), (BASELINE, FRONT), strict=False):
        edges = found.edges
        figure.add_bar(
            name=escape(name),
            x=[(low + high) / 2 for low, high in itertools.pairwise(edges)],
            y=list(found.counts),
            width=[high - low for low, high in itertools.pairwise(edges)],
            marker={"color": color, "opacity": 0.6},
            hovertemplate="%{y} scales near %{x:.3g}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_xaxes(title={"text": "absolute scale of batch norm"}, rangemode="tozero")
    figure.update_yaxes(title={"text": "channels", "standoff": 8})
    return styled(figure, height=320)


def layers_chart(curves: Sequence[LayerCurve]) -> go.Figure:
    """Returns accuracy over what is done to each layer alone."""
    figure = go.Figure()
    for index, curve in enumerate(curves):
        figure.add_scatter(
            name=escape(curve.layer),
            x=list(curve.amounts),
            y=list(curve.accuracies),
            mode="lines+markers",
            line={"color": OBJECTIVES[index % len(OBJECTIVES)], "width": 2},
            hovertemplate="%{y:.2%} at %{x:g}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title={"text": escape(curves[0].what)})
    figure.update_yaxes(title={"text": "validation accuracy", "standoff": 8}, tickformat="~%")
    return styled(figure, height=380)
