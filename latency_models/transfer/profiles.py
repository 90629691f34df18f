"""Profiles: the source devices' latencies of many architectures, ready to transfer from.

Everything is learned from the source devices: each of them stands in, once, for the new device,
and the others predict it. That decides the scale, the prior over the mixture's draws and how wide
intervals are, before anything is known of the new device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.transfer.basis import Basis, Scale, from_scale, learn_basis, to_scale
from latency_models.transfer.mixture import (
    Draws,
    draw,
    log_evidence,
    posterior,
    prior_from,
    products,
)
from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

NUM_TRIED = 20  # architectures measured on a source when scales are compared
NUM_JUDGED = 300  # other architectures that a source is judged by


@dataclass(frozen=True, slots=True)
class Profiles:
    """What is known before the new device is measured.

    Attributes:
        sources: (N, S) latencies in milliseconds, NaN where a source was not measured.
        features: Blocks of (N, P) features of the architectures, coarse to fine; may be none.
        basis: What the sources say about an architecture.
    """

    sources: Array
    features: tuple[Array, ...]
    basis: Basis

    @property
    def num_architectures(self) -> int:
        return len(self.sources)

    def rows(self, indices: Indices) -> tuple[Array, tuple[Array, ...]]:
        return self.sources[indices], tuple(f[indices] for f in self.features)


def learn_profiles(sources: Array, features: Sequence[Array] = ()) -> Profiles:
    """Returns profiles of (N, S) latencies in milliseconds and blocks of (N, P) features.

    Rows are architectures (or kernels), columns are devices. The scale is the one on which the
    sources predict each other better; with a single source it is the logarithm.

    Raises:
        UserError: If arrays do not fit together, or a latency is not positive.
    """
    sources = np.asarray(sources, np.float64)
    blocks = tuple(np.asarray(block, np.float64) for block in features)
    _check(sources, blocks)
    found = [Profiles(sources, blocks, learn_basis(sources, blocks, s)) for s in ("log", "ms")]
    if sources.shape[1] > 1:
        found.sort(key=_error)
    return found[0]


def _check(sources: Array, features: tuple[Array, ...]) -> None:
    if sources.ndim != 2 or sources.shape[1] < 1 or sources.shape[0] < 3:
        raise UserError(
            "latencies of source devices must be a table of at least 3 architectures by 1 device, "
            f"got shape {sources.shape}"
        )
    check_sources(sources, features, sources.shape[1])
    few = np.flatnonzero((~np.isnan(sources)).sum(0) < 3)
    if len(few):
        raise UserError(
            f"source device {few[0]} has fewer than 3 latencies; measure more or leave it out"
        )


def check_sources(sources: Array, features: tuple[Array, ...], num_sources: int) -> None:
    """Raises UserError where latencies and features cannot be used together."""
    if sources.ndim != 2 or sources.shape[1] != num_sources:
        raise UserError(
            f"sources must have one column for each of {num_sources} devices, "
            f"got shape {sources.shape}"
        )
    if np.isinf(sources).any() or (sources <= 0).any():
        row, column = np.argwhere(np.isinf(sources) | (sources <= 0))[0]
        raise UserError(
            f"a latency must be positive, got {sources[row, column]} ms for architecture {row} on "
            f"source device {column}; write NaN where it was not measured"
        )
    for index, block in enumerate(features):
        if block.ndim != 2 or len(block) != len(sources) or not block.shape[1]:
            raise UserError(
                f"feature block {index} must have a row for each of {len(sources)} architectures, "
                f"got shape {block.shape}"
            )
        if not np.isfinite(block).all():
            raise UserError(f"feature block {index} has values that are not finite; fill them in")
    if not features and np.isnan(sources).any():
        raise UserError(
            "source devices lack latencies of some architectures, and there are no features to "
            "fill them in from; give features or only architectures that all have"
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A source that stands in for the new device.

    Attributes:
        evidence: (T,) log evidence of every draw.
        errors: Of latencies not shown, in logarithms of the ratio.
        scores: The same errors, in standard deviations as predicted, on the scale of the model.
    """

    evidence: Array
    errors: Array
    scores: Array


def try_sources(profiles: Profiles, indices: Indices) -> list[Trial]:
    """Measures each source at ``indices`` and predicts it elsewhere from the other sources.

    A source without latencies at three or more of the indices is passed over.
    """
    if profiles.basis.num_sources < 2:
        return []
    rng = np.random.default_rng(0)
    judged = rng.permutation(np.setdiff1d(np.arange(profiles.num_architectures), indices))
    tried = []
    for source in range(profiles.basis.num_sources):
        known = ~np.isnan(profiles.sources[:, source])
        if known[indices].sum() >= 3:
            rows, others = indices[known[indices]], judged[known[judged]][:NUM_JUDGED]
            tried.append(_StandIn(profiles, source, rows, others))
    evidences = np.array([one.evidence for one in tried])
    return [
        one.trial(prior_from(np.delete(evidences, index, axis=0)))
        for index, one in enumerate(tried)
    ]


class _StandIn:
    def __init__(self, profiles: Profiles, source: int, rows: Indices, others: Indices) -> None:
        self.scale: Scale = profiles.basis.scale
        basis = profiles.basis.without(source)
        sources, features = profiles.rows(np.concatenate([rows, others]))
        split = len(rows)
        rest = np.delete(sources, source, axis=1)
        # Architectures asked for are as little known as they are in the profiles at large.
        unknown = float(np.isnan(profiles.sources).mean())
        hidden = np.random.default_rng(source).random((len(others), rest.shape[1])) < unknown
        rest[split:][hidden] = np.nan
        groups, typical = basis.groups(rest, features)
        self.shown = tuple(g[:split] for g in groups), typical[:split]
        self.asked = tuple(g[split:] for g in groups), typical[split:]
        self.latencies = sources[:, source] / np.median(sources[:split, source])
        self.values = to_scale(self.latencies, self.scale)
        self.draws = draws_for(basis)
        shown, at = self.shown
        gram = products(shown, shown)
        self.evidence = log_evidence(self.draws, gram, at, self.values[:split])

    def trial(self, prior: Array) -> Trial:
        split = len(self.shown[1])
        fitted = posterior(self.draws.weighted(prior), *self.shown, self.values[:split])
        predicted = fitted.predict(*self.asked)
        asked = self.values[split:]
        ratio = from_scale(predicted.mean, self.scale) / self.latencies[split:]
        scores = np.abs(predicted.mean - asked) / predicted.deviation
        return Trial(self.evidence, np.abs(np.log(ratio)), scores)


def draws_for(basis: Basis) -> Draws:
    """Returns the mixture's draws for the groups of ``basis``."""
    return draw(5 if basis.blocks else 2, basis.scale == "ms")


def _error(profiles: Profiles) -> float:
    """Error of the sources when the others and a few latencies predict them."""
    # Architectures that most sources know come first, in random order.
    order = np.random.default_rng(0).permutation(profiles.num_architectures)
    missing = np.isnan(profiles.sources[order]).sum(1)
    order = order[missing.argsort(kind="stable")]
    count = max(min(NUM_TRIED, profiles.num_architectures // 2), 3)
    errors = [np.median(t.errors) for t in try_sources(profiles, order[:count]) if len(t.errors)]
    return float(np.mean(errors)) if errors else 0.0
