"""Draws: what networks may turn out to be, all of them together, as a surrogate believes.

Near neighbours turn out alike, so they are drawn jointly: what one of them gains the others gain
less. Objectives are believed independently.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.proposals.insight.learned_run import LearnedRun, value_of_loss
from nas.search.proposals.learning.regression import Regression
from search_spaces.space.space import Architecture

Array = NDArray[np.float64]
JITTER = 1e-9  # of the variance, so that equal rows have a factor


def drawn_values(
    learned: LearnedRun, networks: Sequence[Architecture], count: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """Returns values of networks, (draws, networks, objectives), and which keep every constraint.

    What graphs tell is the same in each draw.
    """
    planner, metrics = learned.planner, learned.results.metrics
    rows = planner.codes.one_hot(planner.codes.encode([dict(a.genes) for a in networks]))
    told = planner.told(networks)
    found = np.empty((count, len(networks), len(metrics)))
    for at, (metric, belief) in enumerate(zip(metrics, planner.beliefs.objectives, strict=True)):
        losses = drawn_losses(belief, rows, count, rng)
        known = np.isfinite(told[:, at])
        losses[:, known] = told[known, at]
        found[:, :, at] = value_of_loss(metric, losses)
    kept = rng.random((count, len(networks))) < planner.beliefs.chances(rows)
    return found, kept


def drawn_losses(belief: Regression, rows: Array, count: int, rng: np.random.Generator) -> Array:
    """Returns losses at one-hot rows, (draws, rows), noise among them: it is found as well."""
    posterior = belief.posterior(rows)
    covariance = belief.kernel.between(rows, rows) - posterior.explained.T @ posterior.explained
    covariance[np.diag_indices(len(rows))] += belief.kernel.noise + JITTER
    factor = belief.scale * np.linalg.cholesky(covariance)
    return posterior.mean + rng.normal(size=(count, len(rows))) @ factor.T
