"""Roofline: a kernel takes what its arithmetic takes at the device's peak, or its memory traffic.

*Source:* Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 2009, https://doi.org/10.1145/1498765.1498785.

*Differs from the paper:* the peaks are not looked up but read off the profile, one for each
precision, and a call costs some time by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_models.prediction.kernel_rows import KernelRows

Floats = NDArray[np.float64]
LARGE = 10  # times a call's own time: what a kernel must take to tell of bandwidth
PEAK_QUANTILE = 0.95  # of what kernels reach: the very best reading may be a slip of the clock


@dataclass(frozen=True, slots=True)
class Roofline:
    """Peaks of one device.

    Attributes:
        macs_per_ms: The peak of each precision.
        bytes_per_ms: Of memory traffic.
        call_ms: What a kernel takes that does nothing.
    """

    macs_per_ms: Mapping[str, float]
    bytes_per_ms: float
    call_ms: float

    def predict(self, table: KernelRows) -> Floats:
        """Returns milliseconds (S,); a precision without a peak counts as the slowest one."""
        slowest = min(self.macs_per_ms.values(), default=np.inf)
        peaks = np.array([self.macs_per_ms.get(name, slowest) for name in table.precisions])
        work = np.maximum(table.macs / peaks, table.moved_bytes / self.bytes_per_ms)
        return self.call_ms + work


def fit_roofline(table: KernelRows, median_ms: Floats) -> Roofline:
    """Returns the roofline of kernels with known times (S,)."""
    call_ms = float(np.quantile(median_ms, 0.01))
    busy = np.maximum(median_ms - call_ms, 0.1 * median_ms)
    large = median_ms >= min(LARGE * call_ms, float(np.median(median_ms)))
    peaks = {
        str(name): float(np.quantile((table.macs / busy)[mask], PEAK_QUANTILE))
        for name in np.unique(table.precisions)
        if name and (mask := (table.precisions == name) & (table.macs > 0)).any()
    }
    return Roofline(
        peaks, float(np.quantile((table.moved_bytes / busy)[large], PEAK_QUANTILE)), call_ms
    )
