"""Estimates of archives, as searches take them: microseconds, and how far they are off.

    OMP_NUM_THREADS=1 python -m benchmarks.archives.estimate --json FILE

Weights are random, pruned by magnitude in each layer and shared, so they hang together in nothing:
what is told is what sampling and counting cost and miss, not what contexts gain on trained ones.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.archives.cifar import mobilenet_v2, squeezenet
from benchmarks.archives.mnist import CASES
from benchmarks.compression.networks import vgg16
from benchmarks.report import print_table, write_json
from nas.models.archives.archive import archive_bytes
from nas.models.archives.estimate import estimated_bytes
from nas.models.folder import ModelInput, StoredModel
from search_spaces.compression.sharing import share_weights
from search_spaces.compression.weight_pruning import by_layer, prune_weights
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.quantization.reprecision import layers

NETWORKS: Mapping[str, Callable[[], Graph]] = {
    "lenet_300_100": CASES["lenet_300_100"].graph,
    "vgg16 x 0.25": lambda: vgg16(0.25),
    "mobilenet_v2 x 0.25": lambda: mobilenet_v2(0.25),
    "squeezenet x 0.25": lambda: squeezenet(0.25),
}
PRUNED, BITS = 0.9, 5
REPEATS = 50


def row(name: str, model: Model, repeats: int) -> dict[str, object]:
    """Returns what estimating takes, beside what writing the archive takes."""
    took = [seconds(lambda: estimated_bytes(model)) for _ in range(repeats)]
    stored = StoredModel(name, model, ModelInput(), None, {"from": "benchmark"})
    begun = perf_counter()
    true = len(archive_bytes(stored, "ans"))
    written = perf_counter() - begun
    return {
        "network": name,
        "params": sum(array.size for array in model.arrays.values()),
        "arrays": len(model.arrays),
        "estimate us": 1e6 * median(took),
        "least us": 1e6 * min(took),
        "archive ms": 1e3 * written,
        "estimate B": estimated_bytes(model),
        "archive B": true,
        "off by %": 100 * (estimated_bytes(model) / true - 1),
    }


def seconds(call: Callable[[], object]) -> float:
    begun = perf_counter()
    call()
    return perf_counter() - begun


def main() -> None:
    asked = ArgumentParser(description=__doc__)
    asked.add_argument("--repeats", type=int, default=REPEATS)
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    rows = []
    for name, graph in NETWORKS.items():
        model = random_model(graph(), np.random.default_rng(0))
        shared = share_weights(
            prune_weights(model, "ratio", PRUNED, scope="layer"),
            by_layer(layers(model.graph), {"*": BITS}),
        )
        rows.append(row(name, model, given.repeats))
        rows.append(row(f"{name}, {1 - PRUNED:.0%} kept, {BITS} bits", shared, given.repeats))
    print_table("estimates of archives", rows)
    write_json(given.json, rows, {"repeats": given.repeats})


if __name__ == "__main__":
    main()
