"""Predictions: guesses against what was found out, for every candidate that has both.

Predicted latencies beside measured ones, estimated archives beside the files.
"""

from collections.abc import Callable, Sequence
from html import escape
from math import log10

import plotly.graph_objects as go

from nas.evaluation.feasibility import latency_rules
from nas.problem.formatting import milliseconds, percent, scaled
from nas.report.drawing.charts import BASELINE, FRONT, INFEASIBLE, KNEE, styled
from nas.report.drawing.html import PREDICTED, Html, card, details, section, table, tag
from nas.runs.findings.prediction_quality import (
    ArchiveQuality,
    Compared,
    LatencyQuality,
    archive_quality,
    latency_quality,
    violations_in_words,
)
from nas.study.results import RunResults

ROOM = 1.1  # factor by which the diagonal reaches beyond what is drawn


def predicted_latency(results: RunResults, add: Callable[[go.Figure], Html]) -> Html:
    """Returns how far predictions were off, with a chart and a table."""
    quality = latency_quality(results)
    if not quality.compared:
        return section("predictions", tag("p", why_none(quality)))
    count = len(quality.compared)
    of_all = (
        f"{count} networks were predicted and then measured; {quality.num_predicted} were only "
        f"predicted, and stand in this report with {PREDICTED}. Each prediction is from before "
        "its measurement. Networks are measured that may belong to the front, or whose prediction "
        "is too unsure, so the errors are theirs, and not those of the whole space."
    )
    cards = [card(name, value) for name, value in figures(quality) if value]
    return section(
        "predictions",
        tag("p", of_all, classes="quiet"),
        tag("div", *cards, classes="cards"),
        tag("p", budget_note(results, quality)),
        add(quality_chart(results, quality.compared)),
        quality_table(quality.compared),
    )


def why_none(quality: LatencyQuality) -> str:
    if not quality.num_predicted:
        return "No latency of this run was predicted and then measured."
    return (
        f"The latencies of {quality.num_predicted} networks are predicted ({PREDICTED}); none of "
        "them is measured yet. nas search --resume measures those of the final front."
    )


def figures(quality: LatencyQuality) -> tuple[tuple[str, str], ...]:
    """Returns names and values; "" where there is none."""

    def share(value: float | None) -> str:
        return "" if value is None else percent(value)

    return (
        ("mean absolute error (MAPE)", share(quality.mape)),
        ("within 10 %", share(quality.close)),
        ("measured inside the interval", share(quality.inside)),
        ("budget-violation rate", share(quality.violation_rate)),
    )


def budget_note(results: RunResults, quality: LatencyQuality) -> str:
    rules = " and ".join(str(rule) for rule in latency_rules(results.config))
    if not rules:
        return "No constraint bounds the latency, so none can be violated."
    confidence = results.config.latency.confidence
    said = violations_in_words(quality) or "none that was accepted by prediction was measured"
    return (
        f"A prediction is accepted that keeps {rules} with a probability of {confidence:g} or "
        f"more: {said}."
    )


def quality_chart(results: RunResults, compared: Sequence[Compared]) -> go.Figure:
    """Returns predictions with their intervals over measurements, with diagonal and budgets."""
    figure = go.Figure()
    ends = [
        ms
        for each in compared
        for ms in (each.predicted.median_ms, each.measured.median_ms, *interval_of(each))
    ]
    limits = [rule.limit for rule in latency_rules(results.config) if rule.limit > 0]
    low, high = min([*ends, *limits]) / ROOM, max([*ends, *limits]) * ROOM
    quiet = {"mode": "lines", "hoverinfo": "skip"}
    line = {"color": INFEASIBLE, "width": 1.5}
    figure.add_scatter(name="as measured", x=[low, high], y=[low, high], line=line, **quiet)
    for limit in limits:
        dashed = {"color": BASELINE, "width": 1.5, "dash": "dash"}
        name = f"budget {milliseconds(limit)}"
        figure.add_scatter(name=name, x=[limit, limit], y=[low, high], line=dashed, **quiet)
    accepted = [each for each in compared if each.accepted]
    others = [each for each in compared if not each.accepted]
    for name, color, chosen in (
        ("accepted, kept", FRONT, [each for each in accepted if not each.violates]),
        ("accepted, violates", KNEE, [each for each in accepted if each.violates]),
        ("not accepted" if limits else "compared", "#2f9e6e", others),
    ):
        add_compared(figure, name, color, chosen)
    for update, name in ((figure.update_xaxes, "measured"), (figure.update_yaxes, "predicted")):
        update(
            title={"text": f"{name} latency (ms, logarithmic)", "standoff": 8},
            type="log",
            range=[log10(low), log10(high)],
            tickformat="~r",
            minor={"showgrid": False},
        )
    return styled(figure, height=480)


def interval_of(each: Compared) -> tuple[float, ...]:
    interval = each.predicted.interval
    return (interval.low_ms, interval.high_ms) if interval else ()


def add_compared(figure: go.Figure, name: str, color: str, chosen: Sequence[Compared]) -> None:
    if not chosen:
        return
    intervals = [interval_of(each) or (each.predicted.median_ms,) * 2 for each in chosen]
    heights = [each.predicted.median_ms for each in chosen]
    figure.add_scatter(
        name=name,
        x=[each.measured.median_ms for each in chosen],
        y=heights,
        mode="markers",
        marker={"size": 8, "color": color},
        error_y={
            "type": "data",
            "array": [high - y for (_, high), y in zip(intervals, heights, strict=True)],
            "arrayminus": [y - low for (low, _), y in zip(intervals, heights, strict=True)],
            "color": color,
            "thickness": 1,
            "width": 3,
        },
        text=[hover(each) for each in chosen],
        hovertemplate="%{text}<extra></extra>",
    )


def hover(each: Compared) -> str:
    lines = [
        f"<b>{escape(each.trial.name)}</b>",
        f"predicted {milliseconds(each.predicted.median_ms)}{interval_in_words(each)}",
        f"measured {milliseconds(each.measured.median_ms)}",
        f"off by {percent(each.error)}",
    ]
    return "<br>".join(lines)


def interval_in_words(each: Compared) -> str:
    interval = each.predicted.interval
    if interval is None:
        return ""
    low, high = milliseconds(interval.low_ms), milliseconds(interval.high_ms)
    return f" ({low} to {high} with {interval.probability:g})"


def quality_table(compared: Sequence[Compared]) -> Html:
    """Returns a row a network, the worst prediction first."""
    head = ["network", "predicted", "interval", "measured", "off by", "the model knew", "budget"]
    rows = [
        (
            each.trial.name,
            milliseconds(each.predicted.median_ms),
            interval_in_words(each).strip(" ()"),
            milliseconds(each.measured.median_ms),
            percent(each.error),
            f"{each.trial.evaluation.known_networks} networks of this run",
            budget_cell(each),
        )
        for each in sorted(compared, key=lambda each: -abs(each.error))
    ]
    return details(
        f"The {len(rows)} networks, the worst prediction first",
        table(head, rows, numbers=(1, 3, 4)),
    )


def budget_cell(each: Compared) -> str:
    prediction = "accepted" if each.accepted else "not accepted"
    return f"{prediction}, {'violates' if each.violates else 'kept'}"


def archive_sizes(results: RunResults) -> Html:
    """Returns how far estimates were off, with a row a network, the worst first."""
    quality = archive_quality(results)
    if not quality.compared:
        return section("archives", tag("p", why_no_archive(quality)))
    note = (
        f"{len(quality.compared)} networks were estimated by the entropy of their weights and "
        f"written afterwards; {quality.num_estimated} were only estimated, and stand in this "
        f"report with {PREDICTED}. Files are written for the front, at the end; bounds are held "
        "against the estimate until then."
    )
    assert quality.mape is not None
    rows = [
        (
            each.trial.name,
            scaled(each.estimated_bytes, "B"),
            scaled(each.written_bytes, "B"),
            f"{100 * each.error:+.2f} %",
            scaled(each.trial.evaluation.values["size_bytes"], "B"),
        )
        for each in sorted(quality.compared, key=lambda each: -abs(each.error))
    ]
    head = ("network", "estimated", "file", "off by", "weights")
    return section(
        "archives",
        tag("p", note, classes="quiet"),
        tag("div", card("mean absolute error (MAPE)", percent(quality.mape)), classes="cards"),
        table(head, rows, numbers=range(1, 5)),
    )


def why_no_archive(quality: ArchiveQuality) -> str:
    if not quality.num_estimated:
        return "The size of archives is no objective of this run, and in no constraint."
    return (
        f"The archives of {quality.num_estimated} networks are estimated ({PREDICTED}); none is "
        "written yet. nas search --resume writes those of the final front."
    )
