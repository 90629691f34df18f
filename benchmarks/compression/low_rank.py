"""Low rank: AlexNet's and VGG's linear layers, VGG's convolutions; accuracy and measured time.

    python -m benchmarks.compression.low_rank --data DATA --json FILE

Networks that are trained here are AlexNet at half its widths on images of 64x64, and VGG-16 as in
``benchmarks.compression.channels``. The linear layers of the whole networks, too large to train
here, are timed with random weights. Each layer gets the scheme that loses least of its weight
among those that take at most ``1 / FEWER`` of its multiply-accumulates.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.compression.networks import NETWORKS
from benchmarks.compression.setting import load, parser, recipes
from benchmarks.compression.timing import timed
from benchmarks.compression.training import Shelf
from benchmarks.report import print_table, write_json
from nas.training.accuracy import accuracy
from nas.training.recipe.statistics import recomputed_norms
from search_spaces.compression.factors import Rank
from search_spaces.compression.low_rank import candidates, substituted, within_macs
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import INPUT, Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.networks import get_network

FEWER = {Linear: 3.5, Conv2d: 2.5}
STEP = 8  # ranks are multiples of a vector register
LEAST_CHANNELS = 32  # of a convolution that is factorised
ALEXNET_RATE = 0.02  # no batch norm: the common rate makes it diverge


def approximated(model: Model, layers: Sequence[str]) -> Model:
    """Returns the model with each layer's best factorisation that is small enough in its place."""
    for name in layers:
        share = 1 / FEWER[type(model.graph.node(name).operator)]
        if made := within_macs(model, name, share, STEP):
            model = substituted(model, min(made.values(), key=lambda found: found.error))
    return model


def convolutions(graph: Graph) -> list[str]:
    return [
        node.name
        for node in graph.nodes
        if isinstance(node.operator, Conv2d)
        and min(node.shape[0], graph.input_shapes(node)[0][0]) >= LEAST_CHANNELS
    ]


def linears(graph: Graph) -> list[str]:
    """Returns the linear layers but the last, which gives the classes."""
    return [node.name for node in graph.nodes if isinstance(node.operator, Linear)][:-1]


def tail(model: Model) -> Model:
    """Returns a network from its first linear layer on."""
    names = [node.name for node in model.graph.nodes]
    first = next(node for node in model.graph.nodes if isinstance(node.operator, Linear))
    nodes = [replace(first, inputs=(INPUT,)), *model.graph.nodes[names.index(first.name) + 1 :]]
    graph = Graph(model.graph.input_shapes(first)[0], tuple(nodes))
    return Model(graph, {name: model.arrays[name] for name in graph.array_shapes()})


def times(whole: Model, small: Model) -> dict[str, object]:
    """Times both, ours and in ONNX Runtime, in turns."""
    of_whole, of_small = timed((whole, small))
    before, after = network_cost(whole.graph), network_cost(small.graph)
    return {
        "params x": after.params / before.params,
        "macs x": after.macs / before.macs,
        "whole ms": of_whole.ours,
        "small ms": of_small.ours,
        "speed-up": of_whole.ours / of_small.ours,
        "ORT speed-up": of_whole.ort / of_small.ort,
        "small/whole ORT": of_small.ours / of_whole.ort,
    }


def main() -> None:
    given = parser(__doc__).parse_args()
    data = load(given)
    full, fine = recipes(given)
    none = {"accuracy %": float("nan"), "cut %": float("nan"), "tuned %": float("nan")}
    rows: list[dict[str, object]] = []

    slower = replace(full, learning_rate=ALEXNET_RATE)
    alexnet = get_network("alexnet")(width=0.5, resolution=64, num_classes=10)
    vgg = NETWORKS["vgg16"](given.width)
    for name, graph, recipe, part in (
        ("alexnet", alexnet, slower, linears),
        ("vgg16", vgg, full, convolutions),
    ):
        shelf = Shelf(given.kept / name, data)
        base = shelf.trained("base", graph, recipe)
        cut = recomputed_norms(approximated(base.model, part(graph)), data.train)
        tuning = replace(fine, learning_rate=fine.learning_rate / 4)
        tuned = shelf.trained("low rank fine", cut.graph, tuning, start=cut)
        scores = {
            "accuracy %": 100 * base.accuracy,
            "cut %": 100 * accuracy(cut, data.test),
            "tuned %": 100 * tuned.accuracy,
        }
        rows.append({"network": name, **scores, **times(base.model, tuned.model)})
        if part is linears:
            only = times(tail(base.model), tail(tuned.model))
            rows.append({"network": f"{name}, linear layers alone", **scores, **only})
    for name in ("alexnet", "vgg16"):
        whole = tail(random_model(get_network(name)(), np.random.default_rng(0)))
        small = random_low_rank(whole)
        rows.append({"network": f"{name} at 224, linear layers", **none, **times(whole, small)})
    print_table("Low rank", rows)
    write_json(given.json, rows, {"fewer macs": {k.__name__: v for k, v in FEWER.items()}})


def random_low_rank(whole: Model) -> Model:
    """Returns the linear layers at the rank that ``FEWER`` asks for, by shapes alone.

    Random weights have no low rank to be found, and a time does not depend on them.
    """
    for name in linears(whole.graph):
        outputs, inputs = whole.arrays[f"{name}.weight"].shape
        rank = int(outputs * inputs / FEWER[Linear] / (outputs + inputs)) // STEP * STEP
        whole = substituted(whole, candidates(whole, name, Rank(count=rank))["svd"])
    return whole


if __name__ == "__main__":
    main()
