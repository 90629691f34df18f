"""Curves: the validation accuracy of each network after each epoch of its training."""

from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go

from nas.report.drawing.charts import FRONT, INFEASIBLE, KNEE, styled
from nas.report.drawing.html import Html, section, tag
from nas.study.results import RunResults, TrialResult

MOST_OTHERS = 200  # curves that do not belong to the front


def learning_curves(
    results: RunResults, chosen: TrialResult | None, add: Callable[[go.Figure], Html]
) -> Html:
    """Returns the section: networks of the front in colour, the others grey behind them."""
    drawn = [trial for trial in results.trials if len(trial.evaluation.accuracy_history) > 1]
    if not drawn:
        text = "No network was trained for more than one epoch, so there are no curves."
        return section("learning", tag("p", text))
    front = {trial.hash for trial in results.front}
    others = spread([trial for trial in drawn if trial.hash not in front], MOST_OTHERS)
    ours = [trial for trial in drawn if trial.hash in front]
    note = (
        "A curve that still rises at its end would gain from more epochs (training.epochs); where "
        "the order of the curves changes late, an early end of trainings would have misled."
    )
    left_out = len(drawn) - len(ours) - len(others)
    if left_out:
        note += f" Of the networks off the front {left_out} are not drawn."
    chart = add(curves_chart(ours, others, chosen))
    return section("learning", tag("p", note, classes="quiet"), chart)


def spread(trials: Sequence[TrialResult], most: int) -> list[TrialResult]:
    """Returns at most so many, from all of the search alike."""
    step = max(1.0, len(trials) / most)
    return [trials[int(n * step)] for n in range(min(most, len(trials)))]


def curves_chart(
    front: Sequence[TrialResult], others: Sequence[TrialResult], chosen: TrialResult | None
) -> go.Figure:
    figure = go.Figure()
    add_curves(figure, "off the front", others, INFEASIBLE, width=1.0, opacity=0.45)
    add_curves(figure, "front", [t for t in front if t != chosen], FRONT, width=2.0)
    if chosen is not None and chosen in front:
        add_curves(figure, f"knee: {chosen.name}", [chosen], KNEE, width=3.0)
    figure.update_xaxes(title={"text": "epoch"}, rangemode="tozero")
    figure.update_yaxes(title={"text": "validation accuracy", "standoff": 8}, tickformat="~%")
    return styled(figure, height=380)


def add_curves(
    figure: go.Figure,
    name: str,
    trials: Sequence[TrialResult],
    color: str,
    *,
    width: float,
    opacity: float = 1.0,
) -> None:
    """Adds curves as one trace, with a gap after each."""
    if not trials:
        return
    epochs: list[int | None] = []
    heights: list[float | None] = []
    names: list[str | None] = []
    for trial in trials:
        history = trial.evaluation.accuracy_history
        epochs += [*range(1, len(history) + 1), None]
        heights += [*history, None]
        names += [escape(trial.name)] * len(history) + [None]
    figure.add_scatter(
        name=escape(name),
        x=epochs,
        y=heights,
        text=names,
        mode="lines",
        line={"color": color, "width": width},
        opacity=opacity,
        connectgaps=False,
        hovertemplate="%{text}: %{y:.2%} after epoch %{x}<extra></extra>",
    )
