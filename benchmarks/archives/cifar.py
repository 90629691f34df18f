"""Networks for CIFAR-10, trained, pruned in rounds, shared, retrained and archived.

    python -m benchmarks.archives.cifar --data DATA --network vgg16 --json FILE

VGG-16 is that of `benchmarks.compression.networks`; MobileNet v2 is the published one for images
of 32 x 32; SqueezeNet has Fire modules with batch norm behind a stem of stride one. Every row is
a share of weights and a codebook of so many bits a layer: accuracies on the 10,000 test images,
the whole archive with Huffman codes and with the context model, and how many times smaller that
is than the network's own parameters at fp32, norms included. Each round goes on from the one
before; all of them learn from the labels and from the whole network. Trainings are kept and taken
up where they were killed; sizes of networks and trainings are what two cores can do.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from benchmarks.archives.lenet import better, sizes, taught
from benchmarks.compression.networks import IMAGE, vgg16
from benchmarks.compression.setting import load, parser, recipes
from benchmarks.compression.training import Shelf
from benchmarks.report import print_table, write_json
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import accuracy
from search_spaces.blocks.fire import Fire
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.compression.sharing import share_weights
from search_spaces.compression.weight_pruning import by_layer, kept_share, prune_weights
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear, MaxPool
from search_spaces.networks import get_network
from search_spaces.quantization.reprecision import layers

FIRES: tuple[int | None, ...] = (128, 128, None, 256, 256, None, 384, 384, 512, 512)


def squeezenet(width: float) -> Graph:
    """Returns SqueezeNet 1.1's Fire modules for small images: each with batch norm."""
    net = GraphBuilder(IMAGE)
    x = net.add("stem", Conv2d(round(64 * width), (3, 3)), net.input)
    for index, channels in enumerate(FIRES):
        if channels is None:
            x = net.add(f"pool{index}", MaxPool((2, 2), (2, 2)), x)
            continue
        with net.scope(f"fire{index}"):
            x = Fire().add_to(net, x, Layer(round(channels * width)))
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(10), x)
    return net.graph()


def mobilenet_v2(width: float) -> Graph:
    return get_network("mobilenet_v2")(width=width, resolution=IMAGE[1], num_classes=10)


@dataclass(frozen=True, slots=True)
class Case:
    """A network and how far it is taken.

    Attributes:
        rounds: Shares that are left after each round of pruning, and bits a weight then.
    """

    graph: Callable[[float], Graph]
    rounds: Mapping[float, tuple[int, ...]]


CASES = {
    "vgg16": Case(vgg16, {0.4: (), 0.2: (5,), 0.1: (5, 4)}),
    "mobilenet_v2": Case(mobilenet_v2, {0.6: (6,), 0.4: (6, 5)}),
    "squeezenet": Case(squeezenet, {0.5: (), 0.3: (5,), 0.2: (5, 4)}),
}


def rows_of(
    shelf: Shelf, network: str, graph: Graph, configs: tuple[TrainingConfig, TrainingConfig]
) -> Iterator[dict[str, object]]:
    whole, fine = configs
    base = shelf.trained("base", graph, whole)
    values = replace(fine, optimizer="adamw", learning_rate=0.002, weight_decay=0.0, epochs=1)
    model = base.model
    yield {"kept %": 100.0, "base %": 100 * base.accuracy, **sizes(base.model, network)}
    for kept, bits in CASES[network].rounds.items():
        pruned = taught(
            shelf, f"kept {kept:g}", prune_weights(model, "ratio", 1 - kept), fine, base.model
        )
        model = pruned.model
        for each in bits:
            cut = share_weights(model, by_layer(layers(model.graph), {"*": each}))
            name = f"kept {kept:g} bits {each}"
            after = taught(shelf, name, cut, values, base.model).model
            chosen = better(shelf, cut, after)
            found = accuracy(chosen, shelf.data.test)
            yield {
                "kept %": 100 * kept_share(chosen),
                "bits": each,
                "base %": 100 * base.accuracy,
                "pruned %": 100 * pruned.accuracy,
                "archived %": 100 * found,
                "loss": 100 * (base.accuracy - found),
                **sizes(chosen, network),
            }


def main() -> None:
    asked = parser(__doc__)
    given = asked.parse_args()
    if given.network not in CASES:
        asked.error(f"--network must be one of {', '.join(CASES)}, got {given.network!r}")
    torch.set_num_threads(1)  # small networks lose by more, and one thread repeats exactly
    shelf = Shelf(given.kept / given.network, load(given))
    graph = CASES[given.network].graph(given.width)
    rows = list(rows_of(shelf, given.network, graph, recipes(given)))
    print_table(f"{given.network} on CIFAR-10, {given.train:,} training images", rows)
    params = network_cost(graph).params
    write_json(
        given.json, rows, {"network": given.network, "params": params, "fp32 B": 4 * params}
    )


if __name__ == "__main__":
    main()
