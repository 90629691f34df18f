"""Kernels of random networks, and times that they are said to take."""

from collections.abc import Mapping
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.prediction.features import FEATURES, TERMS
from latency_models.prediction.kernel_rows import KernelRows, rows_of
from latency_models.prediction.onnx_features import describe
from search_spaces.space.space import sample
from tests.search_spaces.quantization.coded import CODED

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
PRICES: Mapping[str, float] = {  # milliseconds of each, as a processor might ask
    "calls": 2e-5,
    "cycles": 2e-7,
    "sums": 3e-7,
    "curved_vectors": 2e-6,
    "read_bytes": 5e-8,
    "weight_bytes": 1e-8,
}


@cache
def kernels(networks: int = 120, seed: int = 0) -> KernelRows:
    """The distinct kernels of so many networks of every block and precision."""
    rng = Random(seed)
    found = {
        use.kernel: None
        for _ in range(networks)
        for use in network_kernels(sample(CODED, rng).graph, "tvm", AVX2)
    }
    return rows_of([describe(kernel, AVX2) for kernel in found])


def true_ms(table: KernelRows, noise: float = 0.0, seed: int = 0) -> Floats:
    """A sum of prices, for kernels whose last vector is not full a third more, and noise."""
    prices = np.array([PRICES.get(name, 0.0) for name in TERMS])
    rest = table.features[:, FEATURES.index("lane_rest")] > 0
    sums = table.terms @ prices * (1 + rest / 3)
    noisy: Floats = sums * np.exp(np.random.default_rng(seed).normal(scale=noise, size=len(table)))
    return noisy


def split(table: KernelRows, share: float = 0.75, seed: int = 1) -> tuple[Mask, Mask]:
    """Masks of kernels to fit and to hold out."""
    known = np.random.default_rng(seed).random(len(table)) < share
    return known, ~known
