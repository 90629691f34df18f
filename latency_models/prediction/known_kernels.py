"""Known kernels: what is known of each kernel of a device, read or predicted, and how surely."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from latency_models.compiler.kernel_text import key_of, to_text
from latency_models.compiler.network_kernels import AnyKernel, KernelUse
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.latency import NotProfiledError
from latency_models.prediction.kernel_rows import rows_of
from latency_models.prediction.learned import size_distances
from latency_models.prediction.model_file import KernelModel
from latency_models.prediction.onnx_features import describe

KernelSource = Literal["lookup", "learned", "roofline", "interpolated", "transferred"]
NEAR = float(np.log(2.05))  # how far outside the sizes of its kind a kernel may lie
UNKNOWN_DOUBT = 1.0  # of a kernel whose kind was never timed, in logarithms
DOUBT_OUTSIDE = 0.5  # for each e-fold that a kernel lies outside
READING_DOUBT = 0.01
MOST_KNOWN = 200_000  # kernels that are remembered


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one kernel.

    Attributes:
        doubt: Standard deviation of the logarithm of its milliseconds.
        outside: How far outside the sizes of its kind it lies, in logarithms; infinite where no
            kernel of its kind was timed.
    """

    kind: str
    family: str
    median_ms: float
    doubt: float
    source: KernelSource
    outside: float


class KnownKernels:
    """Kernels of one device that were asked for.

    Args:
        name: Of the model that stands in for kernels without a reading.
        readings: Milliseconds and relative spread of timed kernels, by the key of their text.
    """

    def __init__(
        self,
        device: str,
        name: str,
        model: KernelModel,
        readings: Mapping[str, tuple[float, float]],
        unit: VectorUnit,
    ) -> None:
        self._device = device
        self._stand_in = cast(KernelSource, "interpolated" if name == "lookup" else name)
        self._model = model
        self._readings = readings
        self._unit = unit
        self._known: dict[AnyKernel, Known] = {}
        self.most_known = MOST_KNOWN

    def __getitem__(self, kernel: AnyKernel) -> Known:
        """What is known of a kernel that was learned."""
        return self._known[kernel]

    def learn(self, kernels: Iterable[AnyKernel]) -> None:
        """Finds out about kernels that were never asked for, all at once."""
        asked = dict.fromkeys(kernels)
        if len(self._known) + len(asked) > self.most_known:
            self._known.clear()
        new = [kernel for kernel in asked if kernel not in self._known]
        if not new:
            return
        table = rows_of([describe(kernel, self._unit) for kernel in new])
        logarithms, doubts = self._model.predict(table)
        outside = size_distances(self._model.sizes, table)
        doubts = doubts + np.where(
            np.isinf(outside), UNKNOWN_DOUBT, DOUBT_OUTSIDE * np.minimum(outside, 10.0)
        )
        for index, kernel in enumerate(new):
            kind, family = str(table.kinds[index]), str(table.families[index])
            reading = self._readings.get(key_of(to_text(kernel)))
            if reading is None:
                ms, doubt = float(np.exp(logarithms[index])), float(doubts[index])
                known = Known(kind, family, ms, doubt, self._stand_in, float(outside[index]))
            else:
                doubt = float(np.hypot(READING_DOUBT, reading[1]))
                known = Known(kind, family, float(reading[0]), doubt, "lookup", 0.0)
            self._known[kernel] = known

    def check(self, uses: Iterable[KernelUse]) -> None:
        """Raises NotProfiledError where nothing like a kernel was timed."""
        for use in uses:
            known = self._known[use.kernel]
            if known.outside <= NEAR:
                continue
            near = ""
            if np.isfinite(known.outside):
                near = f" within {np.exp(known.outside):.2g} times its size"
            raise NotProfiledError(
                f"{self._device} has no reading of a kernel {known.kind!r}{near} ({use.node}); "
                f"profile a space that has it (nas device profile {self._device} --space "
                "SPACE.yaml), or --extrapolate, which widens the interval"
            )

    def is_like_timed(self, uses: Iterable[KernelUse]) -> bool:
        """Whether some kernel of each one's kind was timed."""
        return all(np.isfinite(self._known[use.kernel].outside) for use in uses)

    def is_far(self, uses: Iterable[KernelUse]) -> bool:
        """Whether some kernel is far from all timed ones."""
        return any(self._known[use.kernel].outside > NEAR for use in uses)
