"""Transfer: what earlier runs say of this one's architectures, as far as the trials here agree.

What a run expects of an architecture, times a slope, is believed before any trial: the regression
here is of what is left. Slopes are those that make the trials likeliest, none is negative, and
they have to pay for themselves by Schwarz's criterion: what misleads is not heard.

Source: Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast
approximations are available", Biometrika 2000, https://doi.org/10.1093/biomet/87.1.1 (one process
as a multiple of another and what is left); Breiman, "Stacked regressions", Machine Learning 1996,
https://doi.org/10.1007/BF00117832 (slopes that are not negative); Schwarz, "Estimating the
dimension of a model", Annals of Statistics 1978.
Differs from the papers: a run is fitted by itself, and its doubt is not carried over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from nas.search.proposals.learning.covariance import Array, Columns, likeliest
from nas.search.proposals.learning.losses import (
    FURTHER_STEPS,
    LossRegression,
    LossShape,
    Prior,
)
from nas.search.proposals.learning.regression import conditioned, those_fitted

NOT_ASKED = -1  # in the place of a column there
ROUNDS = 2  # of slopes by the covariance, and the covariance of what they leave


@dataclass(frozen=True, slots=True)
class Expert:
    """What one run says of one loss.

    Attributes:
        name: Of the run.
        there: The column there of each one-hot column here; `NOT_ASKED` where the gene is unknown
            there, and so says nothing.
        width: How many columns there are.
        regression: Of the losses there.
    """

    name: str
    there: Columns
    width: int
    regression: LossRegression

    def says(self, rows: Array) -> Array:
        """Returns what is expected at rows of features of here, on the scale that it has there."""
        at, column = np.nonzero(rows[:, : len(self.there)])  # what follows counts these
        there = self.there[column]
        asked = np.zeros((len(rows), self.width))
        is_asked = there != NOT_ASKED
        asked[at[is_asked], there[is_asked]] = 1
        return self.regression.inner.mean_at(asked)


def heard(experts: Sequence[Expert], rows: Array) -> Array:
    """Returns what experts say of rows of features, (rows, experts)."""
    return np.stack([expert.says(rows) for expert in experts], axis=1)


def prior_of(shape: LossShape, experts: Sequence[Expert]) -> Prior | None:
    """Returns what is believed before any trial; None where nobody is heard."""
    pairs = zip(shape.slopes, experts, strict=True) if shape.slopes else ()
    asked = [(slope, expert) for slope, expert in pairs if slope > 0]
    if not asked:
        return None
    slopes = np.array([slope for slope, _ in asked])
    return lambda rows: heard([expert for _, expert in asked], rows) @ slopes


def heeding(
    shape: LossShape, columns: Columns, rows: Array, losses: Array, experts: Sequence[Expert]
) -> LossShape:
    """Returns the shape of losses with experts heard, where that makes the losses likelier.

    Args:
        shape: That without them.
        columns: Which gene each column of ``rows`` belongs to.
    """
    if not experts:
        return shape
    few = those_fitted(rows)
    rows, values = rows[few], shape.warp.forward(losses[few])
    said, likeness, slopes = heard(experts, rows), shape.likeness, np.zeros(len(experts))
    for _ in range(ROUNDS):
        lower = conditioned(likeness.on(columns, rows), rows, values).lower
        slopes = slopes_of(lower, said, values)
        if not slopes.any():
            return shape
        likeness = likeliest(columns, rows, values - said @ slopes, likeness, FURTHER_STEPS)
    gained = likeness.evidence - shape.likeness.evidence
    if gained <= (slopes > 0).sum() * np.log(len(values)) / 2:
        return shape
    return LossShape(shape.warp, likeness, tuple(slopes.tolist()))


def slopes_of(lower: Array, said: Array, values: Array) -> Array:
    """Returns a slope for each expert, 0 for those that are not worth hearing.

    Those are added one by one that make what is left likeliest, while that gains more than half
    the logarithm of the number of values.

    Args:
        lower: Cholesky factor of the covariances of the values.
        said: What the experts say of the values, (values, experts).
    """
    table = np.column_stack([np.ones(len(values)), values, said])
    white = solve_triangular(lower, table, lower=True, check_finite=False)
    unit = white[:, 0] / np.linalg.norm(white[:, 0])
    white = white[:, 1:] - np.outer(unit, unit @ white[:, 1:])  # whatever the mean is
    wanted, offered = white[:, 0], white[:, 1:]
    taken: list[int] = []
    slopes, missed = np.zeros(said.shape[1]), float(np.linalg.norm(wanted))
    while len(taken) < len(slopes):
        left = [at for at in range(len(slopes)) if at not in taken]
        tries = [nnls(offered[:, [*taken, at]], wanted) for at in left]
        best = int(np.argmin([rest for _, rest in tries]))
        found, rest = tries[best]
        if 2 * np.log(max(missed, TINY) / max(rest, TINY)) * len(values) <= np.log(len(values)):
            break
        taken.append(left[best])
        slopes[taken], missed = found, rest
    return slopes


TINY = 1e-150
