"""Draws: what networks may turn out to be, all of them together, as a surrogate believes.

Near neighbours turn out alike, so they are drawn jointly: what one of them gains the others gain
less. Objectives are believed independently.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.proposals.batch_planner import BatchPlanner
from nas.search.proposals.insight.learned_run import value_of_loss
from search_spaces.space.space import Architecture

Array = NDArray[np.float64]


def drawn_values(
    planner: BatchPlanner, networks: Sequence[Architecture], count: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """Returns values of networks, (draws, networks, objectives), and which keep every constraint.

    What graphs tell is the same in each draw.
    """
    metrics = planner.sampler.metrics
    rows = planner.features(networks)
    told = planner.told(networks)
    found = np.empty((count, len(networks), len(metrics)))
    for at, (metric, belief) in enumerate(zip(metrics, planner.beliefs.objectives, strict=True)):
        losses = belief.drawn(rows, count, rng)
        known = np.isfinite(told[:, at])
        losses[:, known] = told[known, at]
        found[:, :, at] = value_of_loss(metric, losses)
    kept = rng.random((count, len(networks))) < planner.chances(networks)
    return found, kept
