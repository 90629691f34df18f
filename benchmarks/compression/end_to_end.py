"""Half of every layer, distilled and quantized: how much faster than where it began.

    python -m benchmarks.compression.end_to_end --data DATA --network vgg16 --json FILE

From the networks that ``benchmarks.compression.channels`` keeps: the sparsely trained one loses
half of each layer's channels, those of the least norm scales, or seven in ten over all layers,
learns from the whole network for as many epochs as that was trained, and gets 8 bits after
training. Each network in turns with the whole one, by us and in ONNX Runtime, batch 1, one thread.
"""

from dataclasses import replace

from benchmarks.compression.channels import MULTIPLE, cut_of
from benchmarks.compression.networks import NETWORKS
from benchmarks.compression.setting import load, parser, recipes
from benchmarks.compression.times import Kept, file_times, quantized
from benchmarks.compression.training import Shelf
from nas.training.accuracy import accuracy
from nas.training.recipe.statistics import recomputed_norms
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.importance import importance
from search_spaces.compression.removal import remove_channels
from search_spaces.compression.selection import Rules, select
from search_spaces.graphs.model import Model


def halved(model: Model) -> Model:
    """Returns the model with half of each layer's channels, its statistics as they were."""
    scores = importance(model, channel_groups(model.graph), "norm_scale")
    rules = Rules(scope="layer", multiple=MULTIPLE)
    return remove_channels(model, select(model.graph, scores, 0.5, rules=rules).gone)


def main() -> None:
    given = parser(__doc__).parse_args()
    shelf = Shelf(given.kept / given.network, load(given))
    full, fine = recipes(given)
    graph = NETWORKS[given.network](given.width)
    base = shelf.trained("base", graph, full)
    sparse = shelf.trained("sparse", graph, replace(full, norm_l1=given.norm_l1))
    long = replace(fine, epochs=full.epochs)
    networks = [Kept("base", base.model, base.accuracy)]
    cuts = {"half of each layer": halved(sparse.model), "slim 0.7": cut_of(sparse.model, 0.7)}
    for title, cut in cuts.items():
        name = f"{title} distilled {long.epochs}"
        anew = recomputed_norms(cut, shelf.data.train)
        taught = shelf.trained(name, anew.graph, long, start=anew, teacher=base.model)
        small = quantized(taught.model, shelf.data)
        networks.append(Kept(name, taught.model, taught.accuracy))
        networks.append(Kept(f"{name} w8a8", small, accuracy(small, shelf.data.test)))
    file_times(given, networks)


if __name__ == "__main__":
    main()
