"""Predictor: what every latency model of a device answers, kernel by kernel where asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.latency import Latency
from latency_models.prediction.known_kernels import KernelSource
from search_spaces.graphs.graph import Graph

PROBABILITY = 0.9  # of intervals
NORMAL_WIDTH = 1.645  # of a normal distribution, in standard deviations, at that probability
QUARTILE = 0.6745  # of it, in standard deviations


@dataclass(frozen=True, slots=True)
class KernelPrediction:
    """One kernel's part of a network's predicted latency.

    Attributes:
        node: The graph's node that it computes; "input" for the change of layout.
        kernel: What it is, for people, for example "conv2d 3x3 w8a8".
        source: A reading of this very kernel ("lookup"), which model stands in for it, or
            "transferred" where another device's prediction does.
        share: Of the network's predicted latency.
    """

    node: str
    kernel: str
    median_ms: float
    low_ms: float
    high_ms: float
    source: KernelSource
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A network's predicted latency, kernel by kernel.

    Attributes:
        overhead_ms: What the network takes beyond its kernels; may be below zero.
    """

    latency: Latency
    kernels: tuple[KernelPrediction, ...]
    overhead_ms: float


class Predictor(Protocol):
    """Predicts latencies on one device: from its own profile, or from other devices' models."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What the model says of itself, JSON-ready."""
        ...

    def latency(self, graph: Graph, *, extrapolate: bool = False) -> Latency:
        """Returns the predicted latency of ``graph`` at batch size 1.

        Args:
            extrapolate: Answer also where nothing like a kernel was measured, with an interval
                that says so.

        Raises:
            NotProfiledError: If a kernel, precision or range was never measured; the message
                names it and says how to profile it.
            UnsupportedOperatorError: If the device has no kernel for an operator.
        """
        ...

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        """Returns `latency` of each graph, faster than one by one.

        Raises: as `latency`.
        """
        ...

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        """Returns the predicted latency with each kernel's part.

        Raises: as `latency`.
        """
        ...

    def refitted(self, measured: Sequence[tuple[Graph, Latency]]) -> "Predictor":
        """Returns a model that also knows these measured networks; this one stays as it is.

        Networks that cannot be predicted are left out.
        """
        ...


def error_summary(errors: NDArray[np.float64]) -> dict[str, float]:
    """Returns what errors of held-out networks are on the whole, JSON-ready."""
    return {
        "mape": float(np.mean(np.abs(errors))),
        "within_10": float(np.mean(np.abs(errors) <= 0.1)),
    }
