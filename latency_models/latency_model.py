"""Latency model: what a profiled device is predicted to take for a network, and how surely.

Predicting needs the fitted model of a device (see ``nas device profile``) and numpy; neither TVM
nor torch is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from latency_models.latency import Latency
from search_spaces.graph import Graph

KernelSource = Literal["lookup", "learned", "roofline", "transferred"]


@dataclass(frozen=True, slots=True)
class KernelPrediction:
    """One kernel's part of a network's predicted latency.

    Attributes:
        node: The graph's node that it computes; "input" for the change of layout.
        kernel: What it is, for people, for example "conv2d 3x3 w8a8".
        source: A reading of this very kernel ("lookup"), or which model stands in for it.
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


class LatencyModel:
    """Predicts the latency of networks on one device."""

    @classmethod
    def load(cls, device: str, folder: Path | None = None) -> Self:
        """Returns the model of a profiled device.

        Args:
            folder: Where profiles are kept; None is this user's folder.

        Raises:
            UserError: If the device was never profiled, or the file is damaged or too new.
        """
        raise NotImplementedError

    @property
    def device_name(self) -> str:
        raise NotImplementedError

    @property
    def about(self) -> Mapping[str, Any]:
        """JSON-ready: runtime, cpu, target, threads, versions, dates, counts of readings."""
        raise NotImplementedError

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
        raise NotImplementedError

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        """Returns `latency` of each graph, faster than one by one.

        Raises: as `latency`.
        """
        raise NotImplementedError

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        """Returns the predicted latency with each kernel's part.

        Raises: as `latency`.
        """
        raise NotImplementedError

    def refitted(self, measured: Sequence[tuple[Graph, Latency]]) -> "LatencyModel":
        """Returns a model that also knows these measured networks; this one stays as it is."""
        raise NotImplementedError


def profiled_devices(folder: Path | None = None) -> tuple[str, ...]:
    """Returns the names of the devices that have a fitted model."""
    raise NotImplementedError
