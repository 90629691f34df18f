"""Ours against torch-pruning: the same importance, equal multiply-accumulates, equal fine-tuning.

    pip install torch-pruning
    python -m benchmarks.compression.compared --data DATA --network vgg16 --json FILE

Both cut the sparsely trained network that ``benchmarks.compression.channels`` keeps; both get the
statistics of their batch norms anew and the same epochs, and are timed in the same two runtimes.
"""

from safetensors.numpy import load_file

from benchmarks.compression.networks import NETWORKS
from benchmarks.compression.peer import pruned_by_both
from benchmarks.compression.setting import load, parser, recipes
from benchmarks.compression.timing import timed
from benchmarks.compression.training import Shelf
from benchmarks.report import print_table, write_json
from nas.training.accuracy import accuracy
from nas.training.recipe.statistics import recomputed_norms
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.model import Model

MULTIPLE = 8


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--share", type=float, default=0.5, help="of the multiply-accumulates")
    given = asked.parse_args()
    shelf = Shelf(given.kept / given.network, load(given))
    _, fine = recipes(given)
    graph = NETWORKS[given.network](given.width)
    sparse = Model(graph, load_file(shelf.folder / "sparse.safetensors"))
    both = pruned_by_both(sparse, given.share, "norm_scale", MULTIPLE)
    rows: list[dict[str, object]] = []
    models = []
    for title, cut in zip(("ours", "torch-pruning"), both, strict=True):
        anew = recomputed_norms(cut, shelf.data.train)
        name = f"{title} at {given.share:g} of MACs"
        tuned = shelf.trained(name, anew.graph, fine, start=anew)
        cost = network_cost(anew.graph)
        models.append(tuned.model)
        rows.append(
            {
                "by": title,
                "norms anew %": 100 * accuracy(anew, shelf.data.test),
                "tuned %": 100 * tuned.accuracy,
                "params": cost.params,
                "macs": cost.macs,
            }
        )
    for row, took in zip(rows, timed(models), strict=True):
        row |= {"our kernels ms": took.ours, "ORT ms": took.ort}
    print_table(f"{given.network} at {given.share:g} of its multiply-accumulates", rows)
    write_json(given.json, rows, {"network": given.network, "share": given.share})


if __name__ == "__main__":
    main()
