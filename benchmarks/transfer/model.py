"""Transfer model: predicts latency on a new device after a few measurements there.

The new device's latencies are a Gaussian process over what other devices' latencies and the
architectures' features say (`latency_models.transfer.basis`), averaged over how much each counts
(`latency_models.transfer.mixture`). The priors come from the source devices, each of which stood
in for the new one. Nothing but numpy is needed.

*Source:* the task is that of HELP (Lee et al., NeurIPS 2021, https://arxiv.org/abs/2106.08630);
greedy choice of samples as in Krause et al., JMLR 9 (2008), section 4.
*Differs from the paper:* HELP meta-learns a neural network; here every step is linear algebra.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.transfer.anchored import COVERAGE, GAUSSIAN_90, LEAST_SAMPLES, Prediction
from latency_models.transfer.basis import Basis, from_scale, to_scale
from latency_models.transfer.mixture import Draws, Posterior, posterior, prior_from
from latency_models.transfer.profiles import (
    Indices,
    Profiles,
    Trial,
    check_sources,
    draws_for,
    try_sources,
)
from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]

OWN_VOTE = 10  # measurements that count as much for the intervals' width as one source device


@dataclass(frozen=True, slots=True)
class TransferModel:
    """A new device, known from a few measurements.

    Attributes:
        basis: What the source devices say about an architecture.
        unit_ms: Median of the measurements.
        draws: Sizes of groups and noise with their posterior weights.
        groups: The basis' groups of the measured architectures.
        typical: Their typical latencies on the sources, in medians.
        values: What was measured, in units, on the basis' scale.
        doubt: How many times the usual noise each measurement has.
        half_width: Of the intervals, in standard deviations.
    """

    basis: Basis
    unit_ms: float
    draws: Draws
    groups: tuple[Array, ...]
    typical: Array
    values: Array
    doubt: Array
    half_width: float

    def predict(self, sources: Array, features: Sequence[Array] = ()) -> Prediction:
        """Returns latencies of N architectures on the new device.

        Args:
            sources: (N, S) latencies in milliseconds of the source devices, in the profiles'
                order; NaN where not measured, which the features fill in.
            features: The blocks that the profiles had, for these architectures.

        Raises:
            UserError: If they do not fit the profiles.
        """
        sources = np.asarray(sources, np.float64)
        blocks = tuple(np.asarray(block, np.float64) for block in features)
        widths = [len(block.center) for block in self.basis.blocks]
        if [b.shape[1] if b.ndim == 2 else -1 for b in blocks] != widths:
            raise UserError(
                f"this model was fitted with feature blocks of {widths} columns, "
                f"got shapes {[b.shape for b in blocks]}; give the same features"
            )
        check_sources(sources, blocks, self.basis.num_sources)
        groups, typical = self.basis.groups(sources, blocks)
        fitted = Posterior(self.draws, self.groups, self.typical, self.values, self.doubt)
        mean, deviation = fitted.predict(groups, typical)
        scale, reach = self.basis.scale, self.half_width * deviation
        return Prediction(
            *(self.unit_ms * from_scale(x, scale) for x in (mean, mean - reach, mean + reach))
        )


def fit_transfer(profiles: Profiles, indices: Indices, measured_ms: Array) -> TransferModel:
    """Returns a model of a new device that was measured at rows ``indices`` of the profiles.

    Raises:
        UserError: If fewer than 3 architectures were measured, one twice, or a latency is not
            positive.
    """
    indices, measured_ms = np.asarray(indices), np.asarray(measured_ms, np.float64)
    _check(profiles, indices, measured_ms)
    unit_ms = float(np.median(measured_ms))
    values = to_scale(measured_ms / unit_ms, profiles.basis.scale)
    groups, typical = profiles.basis.groups(*profiles.rows(indices))
    trials = try_sources(profiles, indices)
    prior = prior_from(np.array([trial.evidence for trial in trials])) if trials else None
    draws = draws_for(profiles.basis)
    fitted = posterior(draws if prior is None else draws.weighted(prior), groups, typical, values)
    half_width = _half_width(fitted.surprise(), trials)
    return TransferModel(
        profiles.basis, unit_ms, fitted.draws, groups, typical, values, fitted.doubt, half_width
    )


def _check(profiles: Profiles, indices: Indices, measured_ms: Array) -> None:
    if indices.shape != measured_ms.shape or indices.ndim != 1:
        raise UserError(
            "every measurement needs the row of its architecture, "
            f"got {indices.shape} rows and {measured_ms.shape} latencies"
        )
    if len(indices) < LEAST_SAMPLES:
        raise UserError(
            f"a new device needs at least {LEAST_SAMPLES} measurements, got {len(indices)}; "
            "measure more architectures"
        )
    if not np.issubdtype(indices.dtype, np.integer):
        raise UserError(f"rows of architectures must be integers, got {indices.dtype}")
    if indices.min() < 0 or indices.max() >= profiles.num_architectures:
        raise UserError(
            f"rows must be from 0 to {profiles.num_architectures - 1}, "
            f"got {indices.min()} to {indices.max()}"
        )
    if len(np.unique(indices)) < len(indices):
        raise UserError("an architecture is among the measured ones twice; give their median")
    wrong = np.flatnonzero(~(np.isfinite(measured_ms) & (measured_ms > 0)))
    if len(wrong):
        raise UserError(
            f"a latency must be positive, got {measured_ms[wrong[0]]} ms for architecture "
            f"{indices[wrong[0]]}; measure it again or leave it out"
        )


def _half_width(own: Array, trials: Sequence[Trial]) -> float:
    """Half width, in deviations, that covers 90 % of errors seen so far; a normal's at least.

    Errors are those of the sources that stood in for the new device, one vote each, and of the
    measurements themselves, each predicted from the others. The normal's width is needed because
    the measured architectures were chosen where sources differ, so their own noise is in view.
    """
    parts = [trial.scores for trial in trials if len(trial.scores)]
    scores = np.concatenate([*parts, own])
    votes = np.concatenate(
        [*(np.full(len(p), 1 / len(p)) for p in parts), np.full(len(own), 1 / OWN_VOTE)]
    )
    order = scores.argsort()
    share = votes[order].cumsum() / votes.sum()
    reach = float(scores[order][min(share.searchsorted(COVERAGE), len(scores) - 1)])
    return max(GAUSSIAN_90, reach)
