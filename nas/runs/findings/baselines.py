"""Comparison: what the front does better than the networks that the search started from."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.problem.formatting import percent
from nas.problem.metrics import Metric
from nas.problem.pareto import losses
from nas.study.results import RunResults, TrialResult


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """A baseline and the front's answer to it.

    Attributes:
        on_front: Whether nothing beats it.
        beaten_by: Trials of the front that are nowhere worse and somewhere better: searched
            ones first, of these the best in the first objective first.
    """

    baseline: TrialResult
    on_front: bool
    beaten_by: tuple[TrialResult, ...]


def baseline_rows(results: RunResults) -> tuple[BaselineRow, ...]:
    """Returns a row for each baseline, in the order in which they were tried."""
    front = sorted(results.front, key=lambda trial: trial.baseline is not None)
    on_front = {trial.hash for trial in front}
    return tuple(
        BaselineRow(
            baseline,
            baseline.hash in on_front,
            tuple(trial for trial in front if dominates(trial, baseline, results.metrics))
            if baseline.evaluation.feasible
            else (),
        )
        for baseline in results.baselines
    )


def dominates(trial: TrialResult, other: TrialResult, metrics: Sequence[Metric]) -> bool:
    """Whether ``trial`` is nowhere worse than ``other`` and somewhere better; both feasible."""
    ours, theirs = (
        losses(np.array([[t.evaluation.values[m.name] for m in metrics]]), metrics)[0]
        for t in (trial, other)
    )
    return bool((ours <= theirs).all() and (ours < theirs).any())


def best_baseline(results: RunResults) -> TrialResult | None:
    """Returns the feasible baseline that is best in the first objective, cheapest among equals."""
    feasible = [trial for trial in results.baselines if trial.evaluation.feasible]
    if not feasible:
        return None
    turned = losses(results.points(feasible), results.metrics)
    return feasible[min(range(len(feasible)), key=lambda row: tuple(turned[row]))]


def compared(metric: Metric, value: float, other: float) -> str:
    """Returns how ``value`` stands to ``other``, in words.

    >>> from nas.problem.metrics import METRICS
    >>> compared(METRICS["accuracy"], 0.975, 0.95), compared(METRICS["accuracy"], 0.94, 0.95)
    ('+2.50 points', '-1.00 points')
    >>> compared(METRICS["latency_ms"], 0.5, 1.5), compared(METRICS["latency_ms"], 3.0, 1.5)
    ('3.0x less', '2.0x more')
    """
    if metric.is_quality:
        points = percent(value - other).removesuffix(" %")
        return "the same" if value == other else f"{'+' * (value > other)}{points} points"
    if value == other:
        return "the same"
    if value > 0 and other > 0:
        more = value > other
        factor = value / other if more else other / value
        digits = 1 if factor >= 1.1 else 3
        return f"{factor:.{digits}f}x {'more' if more else 'less'}"
    return f"{value - other:+g} {metric.unit}".rstrip()


def infeasible_reasons(trials: Sequence[TrialResult]) -> tuple[tuple[str, int, TrialResult], ...]:
    """Returns why trials are infeasible, how often, and an example; the most frequent first.

    Trials that break the same constraints count together; those that failed where
    their reasons differ in numbers only.
    """
    infeasible = [trial for trial in trials if trial.evaluation.status == "infeasible"]
    reasons = {trial.number: reason_kind(trial) for trial in infeasible}
    examples = {reasons[trial.number]: trial for trial in reversed(infeasible)}
    counts = Counter(reasons.values()).most_common()
    return tuple((reason, count, examples[reason]) for reason, count in counts)


def reason_kind(trial: TrialResult) -> str:
    broken = sorted(rule for rule, excess in trial.evaluation.violations.items() if excess > 0)
    if broken:
        return f"violates {' and '.join(broken)}"
    return re.sub(r"\d[\w.+-]*", "#", (trial.evaluation.reason or "no reason given"))
