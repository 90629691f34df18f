"""Anchored transfer: a new device is a blend of sources, times what a few networks tell.

Sources predict networks by their kernels, far better than features of a network could. So a blend
of the sources' milliseconds is the prior mean, and the logarithm of the ratio to it is a Gaussian
process over the sources and coarse features of the network (`latency_models.transfer.mixture`):
what all sources say, each source, the features. The blend has no negative part and the least
relative errors, drawn to the source that agrees best.

Letters: N networks of the table, S source devices, P features, K measured networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latency_models.transfer.mixture import Posterior, draw, posterior
from latency_models.transfer.profiles import Indices
from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]
NUM_GROUPS = 3
LEAST_SCALE = 0.01  # of the measured latencies' logarithms
PULL = 0.3  # to the best source, in measurements
SWEEPS = 500
COVERAGE = 0.9  # of the intervals
GAUSSIAN_90 = 1.645  # half width of a normal distribution's 90 % interval, in deviations
LEAST_SAMPLES = 3


class Prediction(NamedTuple):
    """(N,) latencies in milliseconds, and where 90 % of measurements lie."""

    median_ms: Array
    low_ms: Array
    high_ms: Array


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What is known of networks without measuring them on the new device.

    Attributes:
        sources_ms: (N, S) milliseconds of the source devices.
        features: (N, P) of the networks.
    """

    sources_ms: Array
    features: Array

    def rows(self, which: Indices | Sequence[int]) -> "Table":
        return Table(self.sources_ms[which], self.features[which])

    def with_rows(self, other: "Table") -> "Table":
        return Table(
            np.concatenate([self.sources_ms, other.sources_ms]),
            np.concatenate([self.features, other.features]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """Mean and standard deviation of columns."""

    center: Array
    spread: Array

    @classmethod
    def of(cls, columns: Array) -> "Standard":
        spread = columns.std(0)
        return cls(columns.mean(0), np.where(spread > 1e-9, spread, 1.0))

    def __call__(self, columns: Array) -> Array:
        found: Array = (columns - self.center) / self.spread
        return found


@dataclass(frozen=True, slots=True, eq=False)
class AnchoredModel:
    """A new device, known from a few measured networks.

    Attributes:
        best: The source whose ranks agree best with what was measured.
        agreements: (S,) rank correlations.
        blend: (S,) milliseconds here for a millisecond there.
        offset: What is added to the blend's logarithm, usually.
        scale: What the process is in units of, in logarithms.
        half_width: Of the intervals, in standard deviations.
    """

    sources: Standard
    features: Standard
    best: int
    agreements: tuple[float, ...]
    blend: Array
    offset: float
    scale: float
    half_width: float
    process: Posterior

    def predict(self, table: Table) -> Prediction:
        """Returns latencies of N networks on the new device."""
        groups = groups_of(table, self.sources, self.features)
        mean, deviation = self.process.predict(groups, np.ones(len(table.features)))
        usual = np.log(table.sources_ms @ self.blend) + self.offset
        reach = self.half_width * deviation
        return Prediction(
            *(np.exp(usual + self.scale * x) for x in (mean, mean - reach, mean + reach))
        )

    def left_out(self) -> Array:
        """Returns (K,) predicted over measured less 1, of measured networks, each left out."""
        mean, _ = self.process.left_out()
        return np.exp(self.scale * (mean - self.process.values)) - 1


def fit_anchored(table: Table, rows: Indices, measured_ms: Array) -> AnchoredModel:
    """Returns a model of a new device that was measured at ``rows`` of the table.

    Raises:
        UserError: If fewer than 3 networks were measured.
    """
    if len(rows) < LEAST_SAMPLES:
        raise UserError(
            f"a new device needs at least {LEAST_SAMPLES} measurements, got {len(rows)}; "
            "measure more networks"
        )
    known, logarithms = table.rows(rows), np.log(measured_ms)
    agreements = tuple(rank_correlation(column, measured_ms) for column in known.sources_ms.T)
    best = int(np.argmax(agreements))
    blend = blend_of(known.sources_ms, measured_ms, best)
    ratios = logarithms - np.log(known.sources_ms @ blend)
    offset, scale = float(np.median(ratios)), max(float(logarithms.std()), LEAST_SCALE)
    sources, features = Standard.of(np.log(table.sources_ms)), Standard.of(table.features)
    process = posterior(
        draw(NUM_GROUPS, relative=False),
        groups_of(known, sources, features),
        np.ones(len(rows)),
        (ratios - offset) / scale,
    )
    half_width = width_of(process.surprise())
    return AnchoredModel(
        sources, features, best, agreements, blend, offset, scale, half_width, process
    )


def groups_of(table: Table, sources: Standard, features: Standard) -> tuple[Array, ...]:
    """Returns the groups of the process, each with a mean square of about one per network."""
    there, work = sources(np.log(table.sources_ms)), features(table.features)
    return (
        there.mean(1, keepdims=True),
        there / np.sqrt(there.shape[1]),
        work / np.sqrt(work.shape[1]),
    )


def blend_of(sources_ms: Array, measured_ms: Array, best: int) -> Array:
    """Returns (S,) parts, none negative, of least squares of relative errors and of the pull.

    The problem is strictly convex, so descending one part after the other finds its solution.

    >>> there = np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 9.0], [4.0, 1.0]])
    >>> blend_of(there, there @ [0.5, 2.0], best=1).round(1).tolist()
    [0.5, 2.0]
    """
    relative = sources_ms / measured_ms[:, None]
    typical = np.median(relative, axis=0)
    wanted = np.zeros(len(typical))
    wanted[best] = float(np.median(measured_ms / sources_ms[:, best]))
    pull = PULL * typical**2
    left = relative.T @ relative + np.diag(pull)
    right = relative.sum(0) + pull * wanted
    parts = wanted.copy()
    for _ in range(SWEEPS):
        for source in range(len(parts)):
            others = left[source] @ parts - left[source, source] * parts[source]
            parts[source] = max(0.0, (right[source] - others) / left[source, source])
    return parts


def width_of(surprise: Array) -> float:
    """Returns the intervals' half width: Student's t, or what measured networks needed if more.

    (K,) ``surprise`` is how far each is from what the others say, in standard deviations.
    """
    count = len(surprise)
    needed = float(np.sort(surprise)[min(ceil(COVERAGE * (count + 1)), count) - 1])
    return max(student_90(count - 2), needed)


def student_90(freedom: int) -> float:
    """Returns the half width of Student's t distribution's 90 % interval, to within 3 %.

    *Source:* Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.7.5.

    >>> round(student_90(8), 2), round(student_90(48), 2)
    (1.86, 1.68)
    """
    z, degrees = GAUSSIAN_90, max(freedom, 2)
    first = (z**3 + z) / (4 * degrees)
    return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def rank_correlation(a: Array, b: Array) -> float:
    """Returns Spearman's correlation of two columns without ties; 0 where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    first, second = (x.argsort(kind="stable").argsort() for x in (a, b))
    return float(np.corrcoef(first, second)[0, 1])
