"""Losses: regressions of losses, each on the scale on which its trials are likeliest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.search.proposals.learning.covariance import STEPS, Array, Columns, Likeness, likeliest
from nas.search.proposals.learning.regression import (
    GenePosterior,
    Regression,
    conditioned,
    those_fitted,
)
from nas.search.proposals.learning.warps import Unwarped, Warp

Prior = Callable[[Array], Array]  # what is believed of rows before any trial
FURTHER_STEPS = 6  # of the optimiser, from one scale to the next


@dataclass(frozen=True, slots=True)
class LossShape:
    """On which scale losses are normal, and what their covariance is like.

    Attributes:
        slopes: What earlier runs say is multiplied by, where some are heard; the covariance is
            that of what is left.
    """

    warp: Warp
    likeness: Likeness
    slopes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LossRegression:
    """A regression of losses.

    Attributes:
        inner: On the scale of the warp, of what a prior leaves.
        prior: What earlier runs say on that scale, where some are heard.
    """

    warp: Warp
    inner: Regression
    prior: Prior | None = None

    def posterior(self, rows: Array, doubt: float = 1.0) -> "LossPosterior":
        """Returns what is believed at rows of features, which can be believed further.

        Args:
            doubt: What deviations are multiplied by.
        """
        inner = self.inner.posterior(rows)
        if self.prior is not None:
            inner.mean = inner.mean + self.prior(rows)
        return LossPosterior(self.warp, inner, doubt)

    def mean_at(self, rows: Array) -> Array:
        """Returns what half of the belief lies below, at rows of features."""
        mean = self.inner.mean_at(rows)
        return self.warp.backward(mean if self.prior is None else mean + self.prior(rows))

    def drawn(self, rows: Array, count: int, rng: np.random.Generator) -> Array:
        """Returns losses that rows of features may turn out to have together, (count, rows)."""
        return self.warp.backward(self.posterior(rows).inner.drawn(count, rng))

    def believing(self, rows: Array) -> "LossRegression":
        """Returns the regression as if its means at these rows had been found."""
        return LossRegression(self.warp, self.inner.believing(rows), self.prior)


@dataclass(slots=True)
class LossPosterior:
    """What is believed of the losses of some architectures.

    Attributes:
        inner: On the scale of the warp.
    """

    warp: Warp
    inner: GenePosterior
    doubt: float = 1.0

    @property
    def mean(self) -> Array:
        """What half of the belief lies below."""
        return self.warp.backward(self.inner.mean)

    @property
    def deviation(self) -> Array:
        """Half of what lies between one deviation below and one above."""
        return self.halfway(self.inner.deviation)

    @property
    def deviation_found(self) -> Array:
        """The same of what will be found, which is noisy."""
        return self.halfway(np.hypot(self.inner.deviation, self.inner.noise))

    def halfway(self, deviation: Array) -> Array:
        ends = [self.warp.backward(self.inner.mean + s * self.doubt * deviation) for s in (-1, 1)]
        found: Array = (ends[1] - ends[0]) / 2
        return found

    def below(self, levels: Array) -> Array:
        """Returns how far the losses are expected to be below levels, (losses, levels)."""
        return self.warp.below(levels, self.inner.mean, self.doubt * self.inner.deviation)

    def at(self, quantile: np.float64) -> Array:
        """Returns the losses that lie so many deviations above the expected ones."""
        return self.warp.backward(self.inner.mean + quantile * self.doubt * self.inner.deviation)

    def know(self, losses: Array) -> None:
        """Takes losses as exact where they are numbers."""
        known = np.isfinite(losses)
        self.inner.mean[known] = self.warp.forward(losses[known])
        self.inner.left[known] = 0

    def believe(self, at: int) -> None:
        """Goes on as if this architecture had been found to be as expected."""
        if self.inner.left[at] > 0:  # what is exact already teaches nothing more
            self.inner.believe(at)


def likeliest_shape(
    columns: Columns, rows: Array, losses: Array, warps: Sequence[Warp] = (Unwarped(),)
) -> LossShape:
    """Returns under which of the warps, and with which covariance, losses are likeliest.

    Args:
        columns: Which scale each column of ``rows`` has.
    """
    few = those_fitted(rows)
    rows, losses = rows[few], losses[few]
    best, found, start, steps = -np.inf, None, None, STEPS
    for warp in warps:
        start = likeliest(columns, rows, warp.forward(losses), start, steps)
        evidence = start.evidence + float(warp.log_slopes(losses).sum())
        if evidence > best or found is None:
            best, found = evidence, LossShape(warp, start)
        steps = FURTHER_STEPS
    assert found is not None, "there is no warp"
    return found


def regressed(
    shape: LossShape, columns: Columns, rows: Array, losses: Array, prior: Prior | None = None
) -> LossRegression:
    """Returns the regression of a shape on all rows.

    Raises:
        LinAlgError: If the covariances cannot be factored.
    """
    kernel = shape.likeness.on(columns, rows)
    left = shape.warp.forward(losses)
    if prior is not None:
        left = left - prior(rows)
    return LossRegression(shape.warp, conditioned(kernel, rows, left), prior)
