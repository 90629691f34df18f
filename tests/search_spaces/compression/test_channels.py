"""What hangs together in small graphs, by hand, and that nothing in real ones is left out."""

from collections.abc import Callable

import pytest

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression.channels import ChannelGroup, channel_groups
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import (
    Add,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    GlobalAvgPool,
    Linear,
    Scale,
    Shape,
    Weightless,
)
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import NETWORKS


def groups_of(
    build: Callable[[GraphBuilder, Node], Node], stem: int = 4
) -> dict[str, ChannelGroup]:
    """The groups, by name, of what ``build`` puts between a stem and a classifier."""
    net = GraphBuilder((3, 4, 4))
    net.add("classifier", Linear(5), build(net, net.add("stem", Conv2d(stem), net.input)))
    return {group.name: group for group in channel_groups(net.graph())}


def test_each_layer_of_a_chain_is_a_group_of_its_own_but_for_the_classes() -> None:
    groups = groups_of(lambda net, x: net.add("conv", Conv2d(6), x))

    assert {name: group.size for name, group in groups.items()} == {"stem": 4, "conv": 6}
    assert groups["stem"].producers == ("stem",)
    assert groups["stem"].consumers == ("conv",)
    assert groups["conv"].consumers == ("classifier",)


def test_a_sum_ties_its_operands() -> None:
    def build(net: GraphBuilder, x: Node) -> Node:
        return net.add("sum", Add(), x, net.add("conv", Conv2d(4), x))

    groups = groups_of(build)

    assert groups.keys() == {"stem"}
    assert groups["stem"].producers == ("stem", "conv")
    assert groups["stem"].maps["sum"] == ((0,), (1,), (2,), (3,))


def test_a_concatenation_puts_channels_side_by_side() -> None:
    def build(net: GraphBuilder, x: Node) -> Node:
        y = net.add("concat", Concat(), x, net.add("conv", Conv2d(2), x))
        return net.add("sum", Add(), net.add("wide", Conv2d(6), x), y)

    groups = groups_of(build)

    assert groups["stem"].maps["wide"] == ((0,), (1,), (2,), (3,))
    assert groups["conv"].maps["wide"] == ((4,), (5,))


def test_a_gate_goes_with_its_map_and_the_layer_before_it_is_free() -> None:
    def build(net: GraphBuilder, x: Node) -> Node:
        y = net.add("reduce", Conv2d(2), net.add("pool", GlobalAvgPool(), x))
        return net.add("scale", Scale(), x, net.add("gate", Conv2d(4), y))

    groups = groups_of(build)

    assert groups["stem"].producers == ("stem", "gate")
    assert groups["reduce"].size == 2


def test_halves_of_a_split_are_groups_of_their_own() -> None:
    def build(net: GraphBuilder, x: Node) -> Node:
        left = net.add("left", ChannelSplit(0, 3), x)
        right = net.add("right", ChannelSplit(3, 4), x)
        return net.add("concat", Concat(), right, net.add("conv", Conv2d(2), left))

    groups = groups_of(build)

    assert groups["stem"].maps["left"] == ((0,), (1,), (2,))
    assert groups["stem:2"].maps == {"stem": ((3,),), "right": ((0,),), "concat": ((0,),)}


def test_a_shuffle_loses_columns_and_moves_them() -> None:
    groups = groups_of(lambda net, x: net.add("shuffle", ChannelShuffle(2), x), stem=6)

    assert groups["stem"].maps["stem"] == ((0, 3), (1, 4), (2, 5))
    assert groups["stem"].maps["shuffle"] == ((0, 1), (2, 3), (4, 5))


def test_a_depthwise_convolution_carries_its_channels() -> None:
    groups = groups_of(lambda net, x: net.add("depthwise", Conv2d(4, (3, 3), groups=4), x))

    assert groups["stem"].producers == ("stem", "depthwise")
    assert groups["stem"].size == 4


def test_where_groups_read_one_channel_or_make_one_they_go_whole() -> None:
    multiplied = groups_of(lambda net, x: net.add("conv", Conv2d(8, groups=4), x))
    joined = groups_of(lambda net, x: net.add("conv", Conv2d(2, groups=2), x))

    assert multiplied["stem"].maps["conv"] == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert joined["stem"].maps == {"stem": ((0, 1), (2, 3)), "conv": ((0,), (1,))}


def test_a_grouped_convolution_loses_as_many_channels_in_each_group() -> None:
    groups = groups_of(lambda net, x: net.add("conv", Conv2d(6, groups=2), x))

    assert groups["stem"].maps["stem"] == ((0, 2), (1, 3))
    assert groups["conv"].maps["conv"] == ((0, 3), (1, 4), (2, 5))


def test_groups_that_others_straddle_are_evened_out_as_finely_as_can_be() -> None:
    """Concatenated 2 and 6 channels read in groups of 4: those of the 6 are in pairs already."""

    def build(net: GraphBuilder, x: Node) -> Node:
        y = net.add("first", Conv2d(6, groups=2), net.add("before", Conv2d(4), x))
        return net.add("second", Conv2d(4, groups=2), net.add("concat", Concat(), x, y))

    groups = groups_of(build, stem=2)

    # Channels 0, 1 of the stem are in the first half, 2 and 3 of `first` as well, its channels
    # of the second group in the other half: only the pair (2, 5) must take both of the stem along.
    assert groups["first"].maps["first"] == ((0, 3), (1, 4))
    assert groups["stem"].maps == {
        "stem": ((0, 1),),
        "first": ((2, 5),),
        "concat": ((0, 1, 4, 7),),
    }


def test_the_input_and_what_is_tied_to_it_stay() -> None:
    def build(net: GraphBuilder, x: Node) -> Node:
        y = net.add("own", Conv2d(3, (3, 3), groups=3), net.input)
        return net.add("sum", Add(), net.add("conv", Conv2d(3), x), y)

    assert groups_of(build).keys() == {"stem"}


def test_groups_that_read_one_channel_of_the_input_each_lose_some_of_what_they_make() -> None:
    net = GraphBuilder((3, 4, 4))
    net.add("classifier", Linear(5), net.add("conv", Conv2d(6, groups=3), net.input))
    (group,) = channel_groups(net.graph())

    assert group.maps["conv"] == ((0, 2, 4), (1, 3, 5))


def test_a_mean_over_channels_keeps_them() -> None:
    def build(net: GraphBuilder, x: Node) -> Node:
        conv = Conv2d(32, precision=PRECISIONS["xnor_k"])
        return net.add("conv2", conv, net.add("conv1", conv, x))

    assert groups_of(build, stem=32).keys() == {"conv2"}


def test_an_operator_that_nobody_knows_is_named() -> None:
    class Reversed(Weightless):
        def output_shape(self, *inputs: Shape) -> Shape:
            return inputs[0]

    with pytest.raises(UnsupportedOperatorError, match="flip: it is not known what Reversed does"):
        groups_of(lambda net, x: net.add("flip", Reversed(), x))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_layer_but_the_classifier_is_left_out(name: str) -> None:
    graph: Graph = NETWORKS[name]()

    producers = {name for group in channel_groups(graph) for name in group.producers}

    layers = {node.name for node in graph.nodes if isinstance(node.operator, Conv2d | Linear)}
    assert layers - producers == {"classifier"}


@pytest.mark.parametrize("name", NETWORKS)
def test_units_of_all_groups_are_each_channel_once(name: str) -> None:
    graph = NETWORKS[name](num_classes=7)
    groups = channel_groups(graph)

    for at, shape in graph.shapes.items():
        channels = [c for group in groups for unit in group.maps.get(at, ()) for c in unit]
        assert len(channels) == len(set(channels)), at
        assert set(channels) <= set(range(shape[0])), at
