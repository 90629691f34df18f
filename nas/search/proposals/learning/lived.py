"""Lived: the trials of a study as numbers, what of them is learned from, and from where on."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nas.problem.metrics import Metric
from nas.search.proposals.learning.beliefs import Beliefs, as_loss, learn, losses_of
from nas.search.proposals.learning.earlier_beliefs import Teachers
from nas.search.proposals.learning.gene_codes import Codes, GeneCodes
from nas.search.proposals.learning.losses import LossShape
from nas.study.names import HASH

MOST_TRIALS = 1200  # that are learned from; of more those nearest the front
REFITTED = 5, 0.1  # shapes are found anew after so many trials, or so large a share of them

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lived:
    """Trials with genes, as numbers.

    Attributes:
        told: Those that are finished.
        running: Those that are under way.
        rows: Codes of the genes of those that are finished.
        losses: Of these, NaN where that was not had.
    """

    codes: GeneCodes
    told: Sequence[FrozenTrial]
    running: Sequence[FrozenTrial]
    rows: Codes
    losses: Array

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> "Lived":
        bred = [t for t in trials if t.params]
        told = [t for t in bred if t.state == TrialState.COMPLETE]
        running = [t for t in bred if t.state != TrialState.COMPLETE]
        codes = GeneCodes.of(bred)
        return cls(
            codes, told, running, codes.encode([t.params for t in told]), losses_of(told, metrics)
        )

    def learn(
        self,
        metrics: Sequence[Metric],
        teachers: Teachers,
        shapes: Mapping[str, LossShape] | None = None,
    ) -> Beliefs:
        """Returns what those that are finished teach, and earlier runs as far as they agree.

        Raises:
            ValueError: If they teach too little.
            LinAlgError: If a regression cannot be fitted.
        """
        chosen = nearest_the_front(self.losses, MOST_TRIALS)
        told = [self.told[at] for at in chosen]
        rows = self.codes.features(self.rows[chosen])
        losses, experts = self.losses[chosen], teachers.experts(self.codes)
        return learn(told, self.codes.columns, rows, losses, metrics, shapes, experts)

    def corner(
        self,
        random: Array,
        metrics: Sequence[Metric],
        initial: int,
        reference: Mapping[str, float],
        chosen: Container[str],
    ) -> Array:
        """Returns the losses beyond which nothing is gained.

        Where the run names none: of what is maximised the median of the space, by the first
        trials and by what is believed of random architectures; of costs the largest there was, or
        is believed there.

        Args:
            random: What is believed of random architectures, (architectures, objectives).
            initial: How many the first trials are.
            reference: Worst values of interest, by metric.
            chosen: Hashes of what earlier runs chose, which are no sample of the space.
        """
        drawn = [at for at, t in enumerate(self.told) if t.user_attrs.get(HASH) not in chosen]
        corner = []
        for column, believed, metric in zip(self.losses.T, random.T, metrics, strict=True):
            value = reference.get(metric.name)
            if value is not None and np.isfinite(given := as_loss(value, metric)):
                corner.append(given)
            elif metric.direction == "minimize":
                corner.append(float(np.nanmax(np.append(column, believed))))
            else:
                first = column[drawn[:initial]]
                first = first if np.isfinite(first).any() else column
                corner.append(float(np.nanmedian(np.append(first, believed))))
        return np.array(corner)


def refitted_at(trials: int) -> int:
    """Returns after how many of so many trials shapes were found last.

    >>> refitted_at(23), refitted_at(1000)
    (20, 972)
    """
    fewest, share = REFITTED
    count = 0
    while (further := count + max(fewest, int(share * count))) <= trials:
        count = further
    return count


def nearest_the_front(losses: Array, most: int) -> NDArray[np.int64]:
    """Returns the places of at most so many rows, those of the best fronts, in their order."""
    if len(losses) <= most:
        return np.arange(len(losses))
    finite = np.where(np.isfinite(losses), losses, np.nanmax(losses, axis=0))
    ranks = np.asarray(moocore.pareto_rank(finite))
    return np.sort(np.argsort(ranks, kind="stable")[:most]).astype(np.int64)
