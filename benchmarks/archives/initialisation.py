"""First centroids: linear, density or random, by accuracy after sharing and after retraining.

    python -m benchmarks.archives.initialisation --data DATA --network lenet5 --json FILE

*Source:* Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, figure 6 and
section 3.2: linear is best, as it keeps the large weights, which are few and count most. The
networks are those that ``benchmarks.archives.lenet`` has pruned to the paper's density; accuracies
are of the 10,000 test images, of random the mean of three draws.
"""

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean
from typing import get_args

from benchmarks.archives.lenet import pruned_in_rounds, taught
from benchmarks.archives.mnist import CASES, Case, parser, shelf_of
from benchmarks.compression.training import Shelf
from benchmarks.report import print_table, write_json
from nas.training.accuracy import accuracy
from search_spaces.compression.clustering import Init, k_means
from search_spaces.compression.sharing import share_weights
from search_spaces.compression.weight_pruning import real_weights
from search_spaces.graphs.model import Model

BITS = (1, 2, 3, 4)
RETRAIN_EPOCHS = 2
SEEDS = (0, 1, 2)  # of random; the others draw nothing


def rows_of(shelf: Shelf, case: Case) -> Iterator[dict[str, object]]:
    base = shelf.trained("base", case.graph(), case.recipes()[0])
    rounds = pruned_in_rounds(shelf, case, base)
    pruned = next(found for kept, found in rounds if kept == case.paper[0])
    for bits in BITS:
        for init in get_args(Init):
            found = [
                shared(shelf, case, pruned.model, bits, init, seed, base.model)
                for seed in (SEEDS if init == "random" else SEEDS[:1])
            ]
            raw, trained, error = (mean(each) for each in zip(*found, strict=True))
            yield {
                "bits": bits,
                "init": init,
                "pruned %": 100 * pruned.accuracy,
                "shared %": 100 * raw,
                "retrained %": 100 * trained,
                "squared error": error,
            }


def shared(
    shelf: Shelf, case: Case, model: Model, bits: int, init: Init, seed: int, teacher: Model
) -> tuple[float, float, float]:
    """Returns accuracies after sharing and after retraining, and the weights' squared error."""
    weights = real_weights(model)
    cut = share_weights(model, dict.fromkeys(weights, bits), init, seed=seed)
    config = replace(case.recipes()[2], epochs=RETRAIN_EPOCHS)
    trained = taught(shelf, f"{init} {seed} bits {bits}", cut, config, teacher)
    left = (weight[weight != 0] for weight in weights.values())
    error = sum(k_means(each, 1 << bits, init, seed=seed).inertia for each in left)
    return accuracy(cut, shelf.data.test), trained.accuracy, error


def main() -> None:
    given = parser(__doc__).parse_args()
    case = CASES[given.network]
    rows = list(rows_of(shelf_of(given), case))
    print_table(f"{case.network} on MNIST, {100 * case.paper[0]:g} % of its weights", rows)
    write_json(given.json, rows, {"network": case.network, "kept": case.paper[0]})


if __name__ == "__main__":
    main()
