"""Explanations: a predicted latency kernel by kernel."""

from dataclasses import dataclass

from latency_models.devices.latency import Latency
from latency_models.prediction.known_kernels import KernelSource


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
