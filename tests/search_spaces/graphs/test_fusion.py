"""Fusion: which nodes share a kernel, and that every map is still written once, in order."""

from collections.abc import Callable
from functools import partial

import pytest

from search_spaces.blocks import BLOCKS, Block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.fusion import FusedKernel, fuse
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import (
    Activate,
    Add,
    BatchNorm,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    Linear,
)
from search_spaces.networks import NETWORKS


def built(build: Callable[[GraphBuilder, Node], object]) -> Graph:
    """The graph that ``build`` makes after a stem of 8 channels."""
    net = GraphBuilder((3, 5, 5))
    build(net, net.add("stem", Conv2d(8), net.input))
    return net.graph()


def kernels(graph: Graph) -> dict[str, FusedKernel]:
    return {kernel.node.name: kernel for kernel in fuse(graph)}


def test_a_sum_joins_the_linear_convolution_before_it() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("conv", Conv2d(8, activation="none"), x)
        net.add("sum", Add("relu"), x, y)

    graph = built(build)

    assert [kernel.node.name for kernel in fuse(graph)] == ["stem", "conv"]
    conv = kernels(graph)["conv"]
    assert (conv.output, conv.inputs, conv.residual) == ("sum", ("stem",), "stem")
    assert conv.activation == "relu"
    assert conv.shape == (8, 5, 5)


@pytest.mark.parametrize("flip", [False, True])
def test_the_order_of_the_operands_does_not_matter(flip: bool) -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("conv", Conv2d(8, activation="none"), x)
        net.add("sum", Add(), *((y, x) if flip else (x, y)))

    assert kernels(built(build))["conv"].residual == "stem"


def test_with_two_candidates_the_second_operand_takes_the_sum() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        a = net.add("a", Conv2d(8, activation="none"), x)
        b = net.add("b", Conv2d(8, activation="none"), x)
        net.add("sum", Add(), a, b)

    graph = built(build)

    assert [kernel.node.name for kernel in fuse(graph)] == ["stem", "a", "b"]
    assert kernels(graph)["b"].residual == "a"


def test_a_convolution_with_an_activation_does_not_take_a_sum() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        net.add("sum", Add(), x, net.add("conv", Conv2d(8, activation="relu"), x))

    graph = built(build)

    assert [kernel.node.name for kernel in fuse(graph)] == ["stem", "conv", "sum"]
    assert all(kernel.residual is None for kernel in fuse(graph))


def test_a_convolution_that_somebody_else_reads_does_not_take_a_sum() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("conv", Conv2d(8, activation="none"), x)
        z = net.add("sum", Add(), x, y)
        net.add("concat", Concat(), y, z)

    assert "sum" in kernels(built(build))


def test_a_map_added_to_itself_is_a_kernel_of_its_own() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("conv", Conv2d(8, activation="none"), x)
        net.add("sum", Add(), y, y)

    assert kernels(built(build))["sum"].inputs == ("conv", "conv")


def test_a_residual_that_is_computed_later_comes_before_the_kernel_that_adds_it() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("conv", Conv2d(8, activation="none"), x)
        short = net.add("shortcut", Conv2d(8, activation="relu"), x)
        net.add("sum", Add(), short, y)

    assert [kernel.node.name for kernel in fuse(built(build))] == ["stem", "shortcut", "conv"]


def test_a_linear_layer_takes_a_sum_too() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("hidden", Linear(6, activation="relu"), x)
        net.add("sum", Add(), y, net.add("out", Linear(6), y))

    assert kernels(built(build))["out"].residual == "hidden"


def test_a_norm_joins_the_layer_before_it_and_the_sum_behind_it() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        y = net.add("conv", Conv2d(8, norm="none", activation="none"), x)
        x = net.add("sum", Add("relu"), x, net.add("norm", BatchNorm(activation="none"), y))
        y = net.add("hidden", Linear(6), x)
        net.add("last", BatchNorm(activation="hardswish"), y)

    graph = built(build)

    assert [kernel.node.name for kernel in fuse(graph)] == ["stem", "conv", "hidden"]
    conv, hidden = kernels(graph)["conv"], kernels(graph)["hidden"]
    assert (conv.output, conv.norm, conv.residual, conv.activation) == (
        *("sum", "norm", "stem", "relu"),
    )
    assert (hidden.output, hidden.norm, hidden.activation) == ("last", "last", "hardswish")


def test_a_norm_stays_alone_behind_an_activation_or_a_map_that_others_read() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        x = net.add("n1", BatchNorm(), x)  # the stem has an activation
        y = net.add("conv", Conv2d(8, activation="none"), x)
        net.add("sum", Add(), y, net.add("n2", BatchNorm(), y))

    names = [kernel.node.name for kernel in fuse(built(build))]

    assert names == ["stem", "n1", "conv", "n2", "sum"]


def test_dropout_and_split_are_no_kernels() -> None:
    def build(net: GraphBuilder, x: Node) -> None:
        x = net.add("dropout", Dropout(0.5), x)
        left, right = net.add("l", ChannelSplit(0, 4), x), net.add("r", ChannelSplit(4, 8), x)
        net.add("concat", Concat("relu"), left, net.add("act", Activate("relu"), right))

    assert [kernel.node.name for kernel in fuse(built(build))] == ["stem", "act", "concat"]


def put(block: Block, layer: Layer, net: GraphBuilder, x: Node) -> None:
    block.add_to(net, x, layer)


def every_graph() -> dict[str, Graph]:
    graphs = {name: build(resolution=64, num_classes=4) for name, build in NETWORKS.items()}
    for name, block in BLOCKS.items():
        for out_channels, stride in ((8, 1), (16, 2)):
            if name != "skip":
                place = partial(put, block(), Layer(out_channels, stride))
                graphs[f"{name}_{stride}"] = built(place)
    return graphs


GRAPHS = every_graph()


@pytest.mark.parametrize("name", GRAPHS)
def test_kernels_run_in_order_and_cover_every_node_once(name: str) -> None:
    graph = GRAPHS[name]
    views = (Dropout, ChannelSplit)

    written = {INPUT}
    for kernel in fuse(graph):
        for read in (*kernel.inputs, *([kernel.residual] if kernel.residual else [])):
            assert source(graph, read) in written
        assert kernel.output not in written
        written.add(kernel.output)

    computed = {node.name for node in graph.nodes if not isinstance(node.operator, views)}
    inside = {kernel.node.name for kernel in fuse(graph)}
    assert written | inside == computed | {INPUT}
    assert source(graph, graph.output.name) in written


def source(graph: Graph, name: str) -> str:
    """The map that ``name`` is a view of."""
    while name != INPUT and isinstance(graph.node(name).operator, Dropout | ChannelSplit):
        (name,) = graph.node(name).inputs
    return name


def test_each_residual_block_of_resnet_is_two_kernels_or_three() -> None:
    names = [kernel.node.name for kernel in fuse(GRAPHS["resnet18"])]

    assert len(names) == 2 + 8 * 2 + 3 + 2  # stem and pool, blocks, shortcuts, head
    assert not any(name.endswith("sum") for name in names)
