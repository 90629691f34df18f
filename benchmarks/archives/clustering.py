"""k-means on weights: CPU seconds and squared error of ours and of scikit-learn, one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.archives.clustering --json FILE

Values lie as pruning leaves them, none near zero; both begin with the same linear centroids.
scikit-learn ends where centroids move little (tol=1e-4, its default) or after 300 steps; ours
where nothing moves at all.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
from sklearn.cluster import KMeans

from benchmarks.report import print_table, write_json
from search_spaces.compression.clustering import Floats, k_means

LARGEST_OF_PEER = 400_000  # more takes it minutes
SIZES = (40_000, 400_000, 4_000_000, 40_000_000)
CLUSTERS = (32, 256)


def values_of(n: int) -> Floats:
    """Returns ``(n,)`` weights as pruning leaves them."""
    rng = np.random.default_rng(0)
    sizes = 1 + rng.exponential(0.6, n)
    return (0.02 * sizes * rng.choice((-1, 1), n)).astype(np.float32)


def timed(call: Callable[[], float]) -> tuple[float, float]:
    begun = process_time()
    error = call()
    return process_time() - begun, error


def peer(values: Floats, k: int) -> float:
    first = np.linspace(values.min(), values.max(), k, dtype=np.float32)
    made = KMeans(k, init=first[:, None], n_init=1, copy_x=False).fit(values[:, None])
    return float(made.inertia_)


def row(n: int, k: int) -> dict[str, object]:
    values = values_of(n)
    ours_s, ours = timed(lambda: k_means(values, k).inertia)
    theirs_s, theirs = float("nan"), float("nan")
    if n <= LARGEST_OF_PEER:
        theirs_s, theirs = timed(lambda: peer(values.copy(), k))
    return {
        "values": n,
        "k": k,
        "ours CPU s": ours_s,
        "scikit-learn CPU s": theirs_s,
        "times faster": theirs_s / ours_s,
        "ours error": ours,
        "scikit-learn error": theirs,
    }


def main() -> None:
    asked = ArgumentParser(description=__doc__)
    asked.add_argument("--json", type=Path)
    asked.add_argument("--largest", type=int, default=SIZES[-1])
    given = asked.parse_args()
    rows = [row(n, k) for n in SIZES if n <= given.largest for k in CLUSTERS]
    print_table("k-means of pruned weights, linear first centroids", rows)
    write_json(given.json, rows, {"largest of scikit-learn": LARGEST_OF_PEER})


if __name__ == "__main__":
    main()
