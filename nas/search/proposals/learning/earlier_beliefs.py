"""Earlier beliefs: what earlier runs believed at their end, each by its own genes and trials."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.problem.metrics import Metric
from nas.runs.findings.earlier_run import ABSENT, EarlierRun, learnable
from nas.search.proposals.learning.beliefs import FEWEST, as_loss, without_outliers
from nas.search.proposals.learning.covariance import Array, Columns
from nas.search.proposals.learning.gene_codes import GeneCodes
from nas.search.proposals.learning.losses import (
    LossRegression,
    LossShape,
    likeliest_shape,
    regressed,
)
from nas.search.proposals.learning.transfer import NOT_ASKED, Expert
from nas.search.proposals.learning.warps import warps_of_costs, warps_of_qualities

log = logging.getLogger("nas.search")


@dataclass(frozen=True)
class EarlierBeliefs:
    """What a run believed at its end.

    Each of its genes has a column for each value, and one for all values that are unknown there,
    which are as far from every other.

    Args:
        metrics: Those of them that it knows are learned.
    """

    run: EarlierRun
    metrics: Sequence[Metric]

    @cached_property
    def offsets(self) -> Columns:
        """First column of each gene, and at last how many columns there are."""
        sizes = [len(values) + 1 for values in self.run.choices.values()]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @cached_property
    def rows(self) -> Array:
        """The run's trials, one-hot."""
        found = np.zeros((len(self.run.codes), self.offsets[-1]))
        at, gene = np.nonzero(self.run.codes != ABSENT)
        found[at, self.offsets[gene] + self.run.codes[at, gene]] = 1
        return found

    @cached_property
    def regressions(self) -> Mapping[str, LossRegression]:
        """By metric; without those that it knows too little of."""
        found = {metric.name: self.regression(metric) for metric in self.metrics}
        return {name: each for name, each in found.items() if each is not None}

    def regression(self, metric: Metric) -> LossRegression | None:
        values = self.run.values.get(metric.name, np.zeros(0))
        losses = np.array([as_loss(value, metric) for value in values])
        has = np.isfinite(losses)
        if has.sum() < FEWEST or np.ptp(losses[has]) == 0:
            return None
        rows, losses = self.rows[has], losses[has]
        is_gain = metric.direction == "maximize"
        losses = without_outliers(losses) if is_gain else losses
        warps = warps_of_qualities(losses) if is_gain else warps_of_costs(losses)
        columns = np.repeat(np.arange(len(self.run.choices)), np.diff(self.offsets))
        try:
            shape = likeliest_shape(columns, rows, losses, warps)
            return regressed(shape, columns, rows, losses)
        except (ValueError, ArithmeticError) as error:
            log.warning("%s of %s teaches nothing: %s", metric.name, self.run.name, error)
            return None

    def expert(self, metric: Metric, codes: GeneCodes) -> Expert | None:
        """Returns what the run says of a loss, asked by genes as they are written here."""
        regression = self.regressions.get(metric.name)
        if regression is None:
            return None
        there = np.full(int(codes.offsets[-1]), NOT_ASKED, dtype=np.int64)
        known = {gene: at for at, gene in enumerate(self.run.choices)}
        for gene, values, start in zip(
            codes.values, codes.values.values(), codes.offsets, strict=False
        ):
            if gene not in known:
                continue
            places = {value: at for at, value in enumerate(self.run.choices[gene])}
            own = [places.get(value, len(places)) for value in values]
            there[start : start + len(values)] = self.offsets[known[gene]] + np.array(own)
        return Expert(self.run.name, there, int(self.offsets[-1]), regression)


@dataclass(frozen=True)
class Teachers:
    """Earlier runs to be heard; each is fitted once."""

    runs: Sequence[EarlierRun]
    metrics: Sequence[Metric]

    @cached_property
    def beliefs(self) -> tuple[EarlierBeliefs, ...]:
        return tuple(EarlierBeliefs(run, learnable(self.metrics)) for run in self.runs)

    def experts(self, codes: GeneCodes) -> dict[str, tuple[Expert, ...]]:
        """Returns who says something of each metric.

        Args:
            codes: How genes are written here.
        """
        found = {}
        for metric in self.metrics:
            asked = (beliefs.expert(metric, codes) for beliefs in self.beliefs)
            found[metric.name] = tuple(expert for expert in asked if expert is not None)
        return found

    def heard(self, shapes: Mapping[str, LossShape]) -> str:
        """Returns which runs count for which metric, and by what factor, for people."""
        found = []
        for metric in self.metrics:
            slopes = shapes[metric.name].slopes if metric.name in shapes else ()
            names = [each.run.name for each in self.beliefs if metric.name in each.regressions]
            for name, slope in zip(names if slopes else (), slopes, strict=True):
                found += [f"{name} on {metric.name}, x {slope:.3g}"] if slope else []
        return "; ".join(found)
