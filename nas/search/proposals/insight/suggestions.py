"""Suggestions: the best networks that a run has not tried, as a surrogate believes.

They are chosen together, as the next batch of a search would be: each as if those before it had
turned out as expected, so ten of them are not one network in ten variants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.problem.formatting import percent, shown
from nas.problem.metrics import Metric
from nas.problem.pareto import losses
from nas.search.proposals.insight.draws import drawn_values
from nas.search.proposals.insight.hindsight import Hindsight
from nas.search.proposals.insight.learned_run import LearnedRun, value_of_loss
from nas.study.results import RunResults, TrialResult
from search_spaces.building.choice import Value
from search_spaces.graphs.cost import network_cost
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

DRAWS = 400
Array = NDArray[np.float64]
FORMAT, VERSION = "hwnas.suggestions", 1


@dataclass(frozen=True, slots=True)
class Belief:
    """What one objective of a network is expected to be.

    Attributes:
        low, high: One doubt to each side: about two thirds of all lie between, if it is right;
            both are the value where the graph tells it.
    """

    metric: Metric
    value: float
    low: float
    high: float

    @property
    def is_exact(self) -> bool:
        return self.low == self.high

    @property
    def text(self) -> str:
        """The value with its doubt; that of a cost is a share of it.

        >>> from nas.problem.metrics import METRICS
        >>> Belief(METRICS["accuracy"], 0.92, 0.9, 0.94).text
        '92.00 ±2.00 %'
        >>> Belief(METRICS["latency_ms"], 2.0, 1.8, 2.2).text
        '2 ms ±10 %'
        >>> Belief(METRICS["macs"], 2e6, 2e6, 2e6).text
        '2.00 M'
        """
        value, half = shown(self.metric, self.value), (self.high - self.low) / 2
        if self.is_exact:
            return value
        if self.metric.is_quality:
            return f"{value.removesuffix(' %')} ±{percent(half)}"
        return f"{value} ±{100 * half / self.value:.2g} %"


@dataclass(frozen=True, slots=True)
class GeneChange:
    """A gene that differs; None where a network does not have it."""

    gene: str
    before: Value | None
    after: Value | None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A network that was not tried.

    Attributes:
        joins: How likely it keeps every constraint and nothing on the front is as good, 0..1.
        keeps: How likely it keeps every constraint.
        nearest: What was tried, of the front if there is one, with most genes alike.
        changes: Its genes that are others than those of the nearest.
    """

    architecture: Architecture
    beliefs: tuple[Belief, ...]
    macs: int
    params: int
    joins: float
    keeps: float
    nearest: TrialResult
    changes: tuple[GeneChange, ...]

    @property
    def hash(self) -> str:
        return graph_hash(self.architecture.graph)


def suggested(
    learned: LearnedRun, count: int, told: Sequence[Hindsight] = ()
) -> tuple[Suggestion, ...]:
    """Returns up to ``count`` networks that together are expected to gain most, best first.

    Args:
        told: What was told of trials before they ran, which says how wide doubts have to be.

    Raises:
        NothingLearnedError: If nothing new is expected to gain anything.
    """
    results = learned.results
    networks = learned.untried(count)
    means, spread = learned.believed(networks)
    times = {row.metric.name: row.times for row in told}
    spread = spread * [times.get(metric.name, 1.0) for metric in results.metrics]
    rng = np.random.default_rng(0)
    drawn, _ = drawn_values(learned.planner, networks, DRAWS, rng)
    keeps = learned.chances(networks)
    joins = keeps * are_better(drawn, results).mean(axis=0)
    tried = [t for t in results.front or results.trials if t.genes]
    return tuple(
        suggestion(network, believed(results.metrics, *row), float(join), float(keep), tried)
        for network, row, join, keep in zip(
            networks,
            zip(means, spread, strict=True),
            joins,
            keeps,
            strict=True,
        )
    )


def suggestion(
    network: Architecture,
    beliefs: tuple[Belief, ...],
    joins: float,
    keeps: float,
    tried: Sequence[TrialResult],
) -> Suggestion:
    cost, genes = network_cost(network.graph), dict(network.genes)
    nearest = min(tried, key=lambda trial: len(changes_from(trial.genes, genes)))
    changes = changes_from(nearest.genes, genes)
    return Suggestion(network, beliefs, cost.macs, cost.params, joins, keeps, nearest, changes)


def believed(metrics: Sequence[Metric], mean: Array, doubt: Array) -> tuple[Belief, ...]:
    """Returns losses with their doubts as values of the metrics."""
    found = []
    for metric, middle, half in zip(metrics, mean, doubt, strict=True):
        ends = value_of_loss(metric, np.array([middle - half, middle + half]))
        value = float(value_of_loss(metric, np.array(middle)))
        if metric.is_quality:  # a share
            value, ends = min(max(value, 0.0), 1.0), np.clip(ends, 0.0, 1.0)
        found.append(Belief(metric, value, float(ends.min()), float(ends.max())))
    return tuple(found)


def are_better(drawn: Array, results: RunResults) -> NDArray[np.bool_]:
    """Returns which drawn values, (draws, networks, objectives), the front does not dominate."""
    front = losses(results.points(results.front), results.metrics)
    signs = np.array([metric.sign for metric in results.metrics])
    better = np.ones(drawn.shape[:2], dtype=bool)
    for point in front:
        better &= (drawn * signs < point).any(axis=2)
    return better


def changes_from(
    before: Mapping[str, Value], after: Mapping[str, Value]
) -> tuple[GeneChange, ...]:
    """Returns the genes that differ, in the order of the new network, then those that are gone."""
    names = dict.fromkeys((*after, *before))
    return tuple(
        GeneChange(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def suggestions_json(
    results: RunResults, found: Sequence[Suggestion], trials: int
) -> dict[str, Any]:
    """Returns suggestions as JSON-ready data, genes and all."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "objectives": {metric.name: metric.direction for metric in results.metrics},
        "trials": trials,
        "suggestions": [row(each) for each in found],
    }


def row(each: Suggestion) -> dict[str, Any]:
    return {
        "hash": each.hash,
        "expected": {
            belief.metric.name: {
                "value": belief.value,
                "low": belief.low,
                "high": belief.high,
                "exact": belief.is_exact,
            }
            for belief in each.beliefs
        },
        "macs": each.macs,
        "params": each.params,
        "joins_front": each.joins,
        "keeps_constraints": each.keeps,
        "nearest": {"trial": each.nearest.number, "name": each.nearest.name},
        "changes": [
            {"gene": change.gene, "from": change.before, "to": change.after}
            for change in each.changes
        ],
        "genes": dict(each.architecture.genes),
    }


def flat_row(each: Suggestion) -> dict[str, Any]:
    """Returns a suggestion as a line of a spreadsheet."""
    cells: dict[str, Any] = {"hash": each.hash}
    for belief in each.beliefs:
        name = belief.metric.name
        cells |= {name: belief.value, f"{name}_low": belief.low, f"{name}_high": belief.high}
    known = {belief.metric.name for belief in each.beliefs}
    cells |= {n: v for n, v in (("macs", each.macs), ("params", each.params)) if n not in known}
    cells |= {"joins_front": each.joins, "keeps_constraints": each.keeps}
    cells |= {"nearest": each.nearest.name, "changes": in_words(each.changes)}
    return cells | {f"gene.{name}": value for name, value in each.architecture.genes}


def in_words(changes: Sequence[GeneChange]) -> str:
    """Returns what differs, for people.

    >>> in_words([GeneChange("stage0.depth", 1, 2), GeneChange("stage0.se", None, 1)])
    'stage0.depth 1 -> 2, stage0.se 1'
    """
    return ", ".join(
        f"{each.gene} {each.after}"
        if each.before is None
        else f"{each.gene} {each.before} -> {'-' if each.after is None else each.after}"
        for each in changes
    )
