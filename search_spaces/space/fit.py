"""Fit: which decisions of a staged space give a known network, if any do.

A network is read from front to back. After each layer only the places that were reached in it are
kept, with one way of reaching each, so the time grows with the sum of the options along the
network, not with their product.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Value
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import Activation, Operator, Shape
from search_spaces.graphs.precision import get_precision
from search_spaces.quantization.insertion import without_quantizers
from search_spaces.space.space import Architecture, restore
from search_spaces.space.staged import (
    BlockOption,
    Stage,
    StagedSpace,
    has_weights,
    is_prunable,
    layer_options,
)

Genes = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far a network is explained.

    Attributes:
        position: Nodes explained.
        output: The node whose map comes next: its index, -1 for the input.
    """

    position: int
    output: int


Reached = dict[Frontier, Genes]  # each place with one way of getting there


def wiring(graph: Graph) -> list[tuple[Operator, tuple[int, ...]]]:
    """Returns each node's operator and the positions of the nodes it reads; -1 is the input."""
    at = {INPUT: -1} | {node.name: index for index, node in enumerate(graph.nodes)}
    return [(node.operator, tuple(at[name] for name in node.inputs)) for node in graph.nodes]


class SoughtNetwork:
    """The network that is sought, its wiring by position."""

    def __init__(self, graph: Graph) -> None:
        self.shapes = {-1: graph.input_shape} | {
            index: node.shape for index, node in enumerate(graph.nodes)
        }
        self.nodes = wiring(graph)

    def shape(self, place: Frontier) -> Shape:
        return self.shapes[place.output]

    def after(self, place: Frontier, net: GraphBuilder, output: Node) -> Frontier | None:
        """Returns the place after the nodes of ``net``; None if the network goes on otherwise."""
        known = {INPUT: place.output}
        for index, node in enumerate(net.nodes, start=place.position):
            inputs = tuple(known[name] for name in node.inputs)
            if index >= len(self.nodes) or self.nodes[index] != (node.operator, inputs):
                return None
            known[node.name] = index
        return Frontier(place.position + len(net.nodes), known[output.name])


def fit(space: StagedSpace, graph: Graph) -> Architecture | None:
    """Returns the architecture of ``space`` that computes what ``graph`` does, or None.

    Node names do not count. Where several decisions give the same network, one of them is
    returned.
    """
    channels, height, width = graph.input_shape
    if channels != space.in_channels or height != width or height not in space.resolutions:
        return None
    target = SoughtNetwork(without_quantizers(graph))
    for activation in space.activations:
        outside = chosen("resolution", height, space.resolutions)
        outside |= chosen("activation", activation, space.activations)
        reached = through_stem(space, target, activation, outside)
        for index, stage in enumerate(space.stages):
            plain = Layer(1, activation=activation, round_to=space.round_to)
            reached = through_stage(target, reached, f"stage{index}", stage, plain)
        for genes in through_head(space, target, reached, activation):
            return restore(space, genes)
    return None


def chosen(name: str, value: Value, values: tuple[Value, ...]) -> dict[str, Value]:
    """The gene of a decision; none where there is only one way to decide it."""
    return {name: value} if len(values) > 1 else {}


def through_stem(
    space: StagedSpace, target: SoughtNetwork, activation: Activation, genes: Genes
) -> Reached:
    stem, reached = space.stem, Reached()
    for width, kernel, stride, precision in product(
        stem.widths, stem.kernel_sizes, stem.strides, stem.precisions
    ):
        net = GraphBuilder(target.shape(Frontier(0, -1)))
        conv = stem.conv2d(width, kernel, stride, activation, get_precision(precision))
        x = net.add("stem", conv, net.input)
        place = target.after(Frontier(0, -1), net, x)
        if place is not None:
            own = chosen("stem.width", width, stem.widths)
            own |= chosen("stem.kernel_size", kernel, stem.kernel_sizes)
            own |= chosen("stem.stride", stride, stem.strides)
            own |= chosen("stem.precision", precision, stem.precisions)
            reached.setdefault(place, {**genes, **own})
    return reached


def through_stage(
    target: SoughtNetwork, reached: Reached, at: str, stage: Stage, plain: Layer
) -> Reached:
    after = Reached()
    for width, stride in product(stage.widths, stage.strides):
        here: Reached = {
            place: {
                **genes,
                **chosen(f"{at}.width", width, stage.widths),
                **chosen(f"{at}.stride", stride, stage.strides),
            }
            for place, genes in reached.items()
        }
        for index in range(max(stage.depths)):
            layer = replace(plain, out_channels=width, stride=stride if index == 0 else 1)
            here = through_layer(target, here, f"{at}.layer{index}", stage, index, layer)
            if index + 1 in stage.depths:
                depth = chosen(f"{at}.depth", index + 1, stage.depths)
                for place, genes in here.items():
                    after.setdefault(place, {**genes, **depth})
    return after


def through_layer(
    target: SoughtNetwork, reached: Reached, at: str, stage: Stage, index: int, layer: Layer
) -> Reached:
    options, after = layer_options(stage, index), Reached()
    names = tuple(option.name for option in options)
    for place, genes in reached.items():
        for option in options:
            for filled, settings, own in fillings(option, at, stage, layer):
                net = GraphBuilder(target.shape(place))
                try:
                    x = option.build(settings).add_to(net, net.input, filled)
                except ValueError:
                    continue  # this block cannot stand here
                reached_place = target.after(place, net, x)
                if reached_place is not None:
                    block = chosen(f"{at}.block", option.name, names)
                    after.setdefault(reached_place, {**genes, **block, **own})
    return after


def fillings(
    option: BlockOption, at: str, stage: Stage, layer: Layer
) -> Iterator[tuple[Layer, dict[str, Value], Genes]]:
    """Every way of putting a block into a layer: the layer, the settings, the genes for both."""
    precisions = stage.precisions if has_weights(option) else ("fp32",)
    ratios = stage.prune_ratios if is_prunable(option) else (0.0,)
    for settings, precision, ratio in product(option.every_setting(), precisions, ratios):
        genes: dict[str, Value] = {}
        for choice in option.settings:
            name = f"{at}.{option.name}.{choice.name}"
            genes |= chosen(name, settings[choice.name], choice.values)
        genes |= chosen(f"{at}.precision", precision, precisions)
        genes |= chosen(f"{at}.prune_ratio", ratio, ratios)
        filled = replace(layer, precision=get_precision(precision), prune_ratio=ratio)
        yield filled, settings, genes


def through_head(
    space: StagedSpace, target: SoughtNetwork, reached: Reached, activation: Activation
) -> Iterator[Genes]:
    head = space.head
    for (place, genes), width, precision in product(reached.items(), head.widths, head.precisions):
        net = GraphBuilder(target.shape(place))
        number = get_precision(precision)
        x = head.add_to(net, net.input, width, space.num_classes, activation, number)
        end = target.after(place, net, x)
        if end is not None and end.position == len(target.nodes):
            own = chosen("head.width", width, head.widths)
            own |= chosen("head.precision", precision, head.precisions)
            yield {**genes, **own}
