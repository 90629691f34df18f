"""Sparse speed: from which sparsity on a device runs linear layers faster on what is kept.

Measured once on random square layers of a few sizes, then kept in the cache by device, processor
and version of the kernels.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from latency_models.devices.folders import cache_folder, replacing
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.sparse_layers import FASTER, layer_ms
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Linear
from search_spaces.graphs.precision import Sparsity
from search_spaces.graphs.schema import parse_json, read_as

SIZES = (512, 2048, 4096)  # outputs and inputs of a layer: in each level of a usual cache
DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
BITS = 5  # of a kept weight: what Deep Compression gives linear layers
LAYER = "layer"


@dataclass(frozen=True, slots=True)
class SparseSpeed:
    """One square layer on a device: the most weights it may keep to be faster sparse.

    Attributes:
        size: Its outputs, and its inputs.
        density: The largest of ``DENSITIES`` at which sparse was faster; None where none was.
        dense_ms: With all weights.
        sparse_ms: At that density, or at the least one that was tried.
    """

    size: int
    density: float | None
    dense_ms: float
    sparse_ms: float


def sparse_speeds(
    measurer: Measurer, folder: Path | None = None, sizes: tuple[int, ...] = SIZES
) -> tuple[SparseSpeed, ...]:
    """Returns a row for each size, from the cache where it was measured before.

    Args:
        folder: Of the cache; None is the user's.

    Raises:
        UserError: If the device's runtime is not TVM, which alone has sparse kernels.
        MeasurementError: As ``Measurer.latency``.
    """
    if measurer.runtime != "tvm":
        raise UserError(
            f"sparse kernels are TVM's, device {measurer.device_name} runs {measurer.runtime}"
        )
    path = (folder or cache_folder()) / f"sparse_{key_of(measurer, sizes)}.json"
    try:
        return tuple(read_as(tuple[SparseSpeed, ...], parse_json(path.read_text("utf-8"))))
    except (OSError, ValueError):  # not measured yet, or damaged: either is measured
        found = tuple(sparse_speed(size, measurer) for size in sizes)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(json.dumps([asdict(row) for row in found]) + "\n", "utf-8")
        return found


def key_of(measurer: Measurer, sizes: tuple[int, ...]) -> str:
    from latency_models.compiler.tuning import kernels_version  # loads TVM

    measurer.worker.start()
    worker = measurer.worker
    known = (measurer.device_name, worker.cpu, worker.target, worker.version, kernels_version())
    text = json.dumps([*known, sizes, DENSITIES, BITS])
    return sha256(text.encode()).hexdigest()[:16]


def sparse_speed(size: int, measurer: Measurer) -> SparseSpeed:
    """Returns the row of one size: densities are tried until one is faster."""
    dense_ms = layer_ms(random_layer(size, None), LAYER, measurer)
    sparse_ms = float("inf")
    for density in DENSITIES:
        sparse_ms = layer_ms(random_layer(size, Sparsity(density, BITS)), LAYER, measurer)
        if sparse_ms < FASTER * dense_ms:
            return SparseSpeed(size, density, dense_ms, sparse_ms)
    return SparseSpeed(size, None, dense_ms, sparse_ms)


def random_layer(size: int, sparsity: Sparsity | None) -> Model:
    """Returns a network of one square layer with random weights."""
    operator = Linear(size, sparsity=sparsity)
    graph = Graph((size, 1, 1), (Node(LAYER, operator, (INPUT,), (size, 1, 1)),))
    return random_model(graph, np.random.default_rng(0))
