"""Samples: which architectures to measure on a new device, before anything is known of it."""

import numpy as np

from latency_models.transfer.profiles import Indices, Profiles
from search_spaces.graphs.errors import UserError

POOL = 2000  # candidates looked at; more would only cost time
TAIL = 0.05  # of the candidates at either end: extremes say little about the rest
SIZES = (1.0, 1.0, 1.0, 0.5, 0.5)  # of the basis' groups
NOISE = 1.0  # variance of a measurement


def choose_samples(
    profiles: Profiles, count: int, rng: np.random.Generator, candidates: Indices | None = None
) -> Indices:
    """Returns ``count`` architectures to measure, as row indices of the profiles.

    Each is the one whose latency is least certain after those before it, as a Gaussian process
    over the profiles sees it (greedy D-optimal design), among a random half of the candidates (by
    default all architectures), 2,000 at most.

    Raises:
        UserError: If there are fewer candidates than ``count``.
    """
    everything = np.arange(profiles.num_architectures)
    rows = everything if candidates is None else np.unique(candidates)
    if not 1 <= count <= len(rows):
        raise UserError(f"{count} samples cannot be chosen among {len(rows)} architectures")
    rows = rng.permutation(rows)[: max(min(POOL, len(rows) // 2), count)]
    groups, typical = profiles.basis.groups(*profiles.rows(rows))
    order = typical.argsort(kind="stable")
    cut = min(int(TAIL * len(rows)), (len(rows) - count) // 2)
    inner = order[cut : len(rows) - cut]
    rows = rows[inner]
    sizes = SIZES[: len(groups)]
    vectors = np.concatenate(
        [np.ones((len(rows), 1)), *(s * g[inner] for s, g in zip(sizes, groups, strict=True))], 1
    )
    chosen: list[int] = []
    variance = (vectors**2).sum(1)
    found = np.zeros((len(rows), 0))
    for _ in range(count):
        variance[chosen] = -1
        best = int(variance.argmax())
        chosen.append(best)
        # One more row of the Cholesky factor: what knowing `best` says about every candidate.
        shared = vectors @ vectors[best] - found @ found[best]
        column = shared / np.sqrt(max(float(variance[best]), 0) + NOISE)
        found = np.concatenate([found, column[:, None]], axis=1)
        variance = variance - column**2
    return rows[chosen]
