"""Drift: whether a device is as fast as when it was profiled before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WORTH_SAYING = 0.05  # a change of the median kernel that is more than noise


@dataclass(frozen=True, slots=True)
class Drift:
    """Kernels that were timed in several runs of the profiler.

    Attributes:
        since: Date of the earlier readings, the newest of them.
        kernels: How many there are.
        ratio: Latest time over the earlier one: the median, and the middle 80 %.
    """

    since: str
    kernels: int
    ratio: float
    low: float
    high: float

    @property
    def is_notable(self) -> bool:
        return abs(np.log(self.ratio)) > WORTH_SAYING


def find_drift(table: "pd.DataFrame") -> Drift | None:
    """Returns how the last session's readings compare with earlier ones of the same kernels.

    Args:
        table: Readings of kernels under the same conditions, the oldest first.

    Returns None where no kernel was timed in two sessions.
    """
    good = table[table["median_ms"].notna()]
    if good["session"].nunique() < 2:
        return None
    last = good["session"] == good["session"].iloc[-1]
    now = good[last].groupby("text")["median_ms"].median()
    before = good[~last].groupby("text")["median_ms"].median()
    both = now.index.intersection(before.index)
    if not len(both):
        return None
    ratios = (now[both] / before[both]).to_numpy(np.float64)
    low, middle, high = np.percentile(ratios, [10, 50, 90])
    since = str(good[~last]["date"].max())
    return Drift(since, len(both), float(middle), float(low), float(high))
