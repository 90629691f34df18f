"""Inherited: which networks of a front had weights of others, and what they are without."""

from nas.problem.formatting import percent, shown
from nas.problem.metrics import METRICS, QUALITIES
from nas.report.drawing.html import Html, details, scored, table, tag
from nas.runs.evaluation import INHERITED
from nas.runs.findings.retrained_front import (
    RetrainedNetwork,
    heirs_in_one_line,
    not_retrained,
    read_retrained_front,
    same_order,
)
from nas.study.results import RunResults, TrialResult


def inherited(results: RunResults) -> list[Html]:
    """Returns what inherited weights did to the front, and the retrained front if any."""
    parts = []
    if said := heirs_in_one_line(results):
        note = (
            f"{said[:1].upper()}{said[1:]}. A network that inherited was trained on from weights "
            "of another, for fewer epochs; more training is behind its accuracy "
            f"({INHERITED}) than its epochs say."
        )
        parts += [tag("h3", "Inherited weights"), tag("p", note, classes="quiet")]
        parts += heirs_table(results)
    retrained = read_retrained_front(results.run)
    return [*parts, *retrained_part(results, retrained)] if retrained else parts


def heirs_table(results: RunResults) -> list[Html]:
    """Returns the networks of the front that inherited, with whom they had their weights from."""
    names = {trial.hash: trial.name for trial in results.trials}
    rows = [
        (
            trial.name,
            names.get(heritage.parent, heritage.parent),
            percent(heritage.share),
            trial.evaluation.epochs,
            scored(results, trial, METRICS["accuracy"]),
        )
        for trial in results.front
        if (heritage := trial.evaluation.inherited) is not None
    ]
    if not rows:
        return []
    head = ["network", "weights of", "share of its weights", "epochs", "accuracy"]
    grid = table(head, rows, numbers=(2, 3, 4))
    return [details(f"The {len(rows)} networks of the front that inherited", grid)]


def retrained_part(results: RunResults, networks: tuple[RetrainedNetwork, ...]) -> list[Html]:
    """Returns the front of what was retrained from nothing."""
    trials = {trial.hash: trial for trial in results.trials}
    qualities = [metric for metric in results.metrics if metric in QUALITIES]
    head = ["network", *(metric.title for metric in results.metrics)]
    head += [*(f"{metric.title} in the search" for metric in qualities), "epochs", "front"]
    head.insert(-2, "test accuracy")
    rows = []
    for each in networks:
        trial = trials.get(each.hash)
        values = [shown(metric, each.values[metric.name]) for metric in results.metrics]
        before = ["" if trial is None else scored(results, trial, m) for m in qualities]
        tested = each.test_values.get("accuracy")
        rows.append(
            (
                each.hash if trial is None else trial.name,
                *(*values, *before, "" if tested is None else percent(tested), each.epochs),
                "is on it" if each.on_front else "is beaten",
            )
        )
    kept = [row for row, each in enumerate(networks) if each.on_front]
    grid = table(head, rows, numbers=range(1, len(head) - 1), marked=kept)
    return [tag("h3", "The front, retrained from nothing"), about(results, networks), grid]


def about(results: RunResults, networks: tuple[RetrainedNetwork, ...]) -> Html:
    on_front = sum(each.on_front for each in networks)
    said = (
        f"Of the {len(networks)} networks of the search's front {on_front} make up the final one."
    )
    order = same_order(results, networks)
    if order is not None:
        said += f" Kendall's rank correlation of accuracies in the search and here: {order:.2f}."
    missing: tuple[TrialResult, ...] = not_retrained(results, networks)
    if missing:
        said += f" Not retrained yet: {', '.join(trial.name for trial in missing)}."
    return tag("p", said)
