"""Graphs: hashes, files and costs of networks, and what moves in a space come to."""

from collections.abc import Mapping
from dataclasses import asdict
from random import Random

from benchmarks.numbers.figures import Figure, digest
from benchmarks.numbers.subjects import drawn, every_network, mixed_space, small_published
from nas.evaluation.free_rules import graph_values
from search_spaces.graphs.cost import kernel_costs, network_cost
from search_spaces.graphs.fusion import fuse
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.reprecision import body, full_precision, layers, uniform
from search_spaces.space.architecture import from_json, graph_hash, to_json
from search_spaces.space.space import Architecture, crossover, describe_genes, mutate, restore
from search_spaces.space.staged import count_architectures, describe_space


def graph_figures() -> dict[str, Figure]:
    return {name: about_graph(name, graph) for name, graph in every_network().items()}


def about_graph(name: str, graph: Graph) -> Mapping[str, Figure]:
    file = to_json(Architecture(name, (), graph))
    return {
        "hash": graph_hash(graph),
        "hash read back": graph_hash(from_json(file).graph),
        "file": digest(file),
        "cost": asdict(network_cost(graph)),
        "values": graph_values(graph),
        "by kernel": digest(
            [[kernel.node.name, kernel.activation, *asdict(cost).values()]
             for kernel, cost in kernel_costs(graph)]
        ),
        "kernels": [len(graph.nodes), len(fuse(graph))],
        "arrays": digest({key: list(shape) for key, shape in graph.array_shapes().items()}),
    }  # fmt: skip


def move_figures() -> dict[str, Figure]:
    space, rng = mixed_space(), Random(1)
    found: dict[str, Figure] = {
        "size of the space": str(count_architectures(space)),
        "space in words": digest(describe_space(space)),
    }
    for index, each in enumerate(drawn()):
        genes, other = dict(each.genes), dict(drawn()[index - 1].genes)
        found[f"drawn {index:02}"] = {
            "genes": digest(describe_genes(each.genes)),
            "restored": graph_hash(restore(space, genes).graph),
            "mutated": graph_hash(mutate(space, genes, rng, 2).graph),
            "crossed": graph_hash(crossover(space, genes, other, rng).graph),
            "in full": graph_hash(full_precision(each.graph)),
        }
    mobile = small_published()["mobilenet_v2 fp32"]
    found["layers"] = digest([layers(mobile), body(mobile)])
    found["at each precision"] = {
        name: graph_hash(uniform(mobile, precision)) for name, precision in PRECISIONS.items()
    }
    return found
