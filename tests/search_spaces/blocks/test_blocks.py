"""Every registered block keeps the block contract; a new block is tested by being registered."""

from itertools import product

import pytest

from search_spaces.blocks import BLOCKS, Block, get_block
from search_spaces.blocks.factorised import FactorisedConv
from search_spaces.blocks.fire import Fire
from search_spaces.blocks.ghost import GhostBottleneck
from search_spaces.blocks.inverted_residual import InvertedResidual
from search_spaces.blocks.plain import PlainConv
from search_spaces.blocks.registry import register_block
from search_spaces.blocks.residual import ResidualBasic, ResidualBottleneck
from search_spaces.blocks.shuffle_v1 import ShuffleV1
from search_spaces.blocks.shuffle_v2 import ShuffleV2
from search_spaces.blocks.skip import Skip
from search_spaces.blocks.xception import XceptionBlock
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.cost import count_macs, count_params, network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Activate, Add, ChannelShuffle, Concat, Conv2d, Linear
from search_spaces.graphs.precision import PRECISIONS


def settings(cls: type[Block]) -> list[Block]:
    """The block at every combination of its choices."""
    names = [choice.name for choice in cls.choices]
    rows = product(*(choice.values for choice in cls.choices))
    return [cls(**dict(zip(names, row, strict=True))) for row in rows]


def placed(block: Block, layer: Layer, in_channels: int = 16, side: int = 9) -> Graph:
    """The block alone after a stem; the map's odd size catches wrong padding."""
    net = GraphBuilder((3, side, side))
    x = net.add("stem", Conv2d(in_channels), net.input)
    with net.scope("block"):
        x = block.add_to(net, x, layer)
    net.add("classifier", Linear(10), x)
    return net.graph()


def output_of(graph: Graph) -> tuple[int, int, int]:
    """The shape that the block gives, which the classifier reads."""
    return graph.input_shapes(graph.output)[0]


def convs(graph: Graph) -> dict[str, Conv2d]:
    """The block's convolutions by name, in order."""
    return {
        node.name.removeprefix("block."): node.operator
        for node in graph.nodes
        if node.name.startswith("block.") and isinstance(node.operator, Conv2d)
    }


SHAPED = [block for cls in BLOCKS.values() if cls is not Skip for block in settings(cls)]
# Blocks without an inner width have nothing that a prune ratio could take away.
PRUNED = [
    block for block in SHAPED if type(block).__name__ not in ("PlainConv", "DepthwiseSeparable")
]


@pytest.mark.parametrize("block", SHAPED, ids=str)
@pytest.mark.parametrize("in_channels", [16, 32])
@pytest.mark.parametrize("out_channels", [16, 24, 32])
@pytest.mark.parametrize("stride", [1, 2])
def test_block_gives_the_channels_and_the_size_it_was_asked_for(
    block: Block, in_channels: int, out_channels: int, stride: int
) -> None:
    graph = placed(block, Layer(out_channels, stride), in_channels)

    side = -(-9 // stride)
    assert output_of(graph) == (out_channels, side, side)


@pytest.mark.parametrize("block", SHAPED, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_block_works_on_a_map_of_one_pixel(block: Block, stride: int) -> None:
    assert output_of(placed(block, Layer(24, stride), side=1)) == (24, 1, 1)


@pytest.mark.parametrize("block", PRUNED, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_pruning_takes_inner_channels_and_keeps_the_outside(block: Block, stride: int) -> None:
    full = placed(block, Layer(64, stride), 64)
    pruned = placed(block, Layer(64, stride, prune_ratio=0.5), 64)

    assert output_of(pruned) == output_of(full)
    assert count_params(pruned) < count_params(full)
    assert count_macs(pruned) < count_macs(full)
    assert {conv.prune_ratio for conv in convs(pruned).values()} == {0.0, 0.5}


@pytest.mark.parametrize("name", ["plain", "depthwise_separable"])
def test_pruning_leaves_a_block_without_inner_width_as_it_is(name: str) -> None:
    block = get_block(name)()

    assert placed(block, Layer(32, prune_ratio=0.5)) == placed(block, Layer(32))


@pytest.mark.parametrize("block", SHAPED, ids=str)
def test_inner_channels_round_to_the_hardware_multiple(block: Block) -> None:
    layer = Layer(48, prune_ratio=0.3, round_to=8)

    inner = [conv for conv in convs(placed(block, layer, 48)).values() if conv.prune_ratio > 0]

    # A ghost module makes half of its inner map by each of its two convolutions.
    multiple = 4 if isinstance(block, GhostBottleneck) else 8
    assert [conv.out_channels % multiple for conv in inner] == [0] * len(inner)


@pytest.mark.parametrize("cls", [cls for cls in BLOCKS.values() if cls is not Skip])
def test_every_convolution_takes_the_precision_of_the_layer(cls: type[Block]) -> None:
    graph = placed(cls(), Layer(32, 2, precision=PRECISIONS["w8a8"]), 32)

    assert {str(conv.precision) for conv in convs(graph).values()} == {"w8a8"}


@pytest.mark.parametrize("cls", [cls for cls in BLOCKS.values() if cls is not Skip])
def test_block_uses_the_activation_of_the_network(cls: type[Block]) -> None:
    graph = placed(cls(), Layer(24, 2, activation="hardswish"))

    seen = {
        node.operator.activation
        for node in graph.nodes
        if node.name.startswith("block.")
        and isinstance(node.operator, Conv2d | Add | Concat | Activate)
    }
    assert "hardswish" in seen
    assert seen <= {"hardswish", "none"}


@pytest.mark.parametrize("cls", BLOCKS.values())
def test_default_settings_build(cls: type[Block]) -> None:
    assert output_of(placed(cls(), Layer(16))) == (16, 9, 9)


def test_fire_splits_the_output_between_its_expansions() -> None:
    fire = Fire(squeeze_ratio=0.125, share_3x3=0.75, norm="none")

    graph = placed(fire, Layer(64))

    assert {name: conv.out_channels for name, conv in convs(graph).items()} == {
        "squeeze": 8,
        "expand_1x1": 16,
        "expand_3x3": 48,
    }
    squeeze, narrow, wide = 16 * 8 + 8, 8 * 16 + 16, 9 * 8 * 48 + 48
    assert count_params(graph) - stem_and_classifier(64) == squeeze + narrow + wide


def stem_and_classifier(out_channels: int) -> int:
    return 16 * (3 + 2) + 10 * (out_channels * 81 + 1)


def test_fire_bypass_adds_the_input_only_where_shapes_agree() -> None:
    fire = Fire(bypass="simple")

    def names(layer: Layer) -> list[str]:
        return [node.name for node in placed(fire, layer).nodes]

    assert "block.sum" in names(Layer(16))
    assert "block.sum" not in names(Layer(24))
    assert "block.sum" not in names(Layer(16, 2))


def test_fire_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="bypass must be 'none' or 'simple', got 'complex'"):
        Fire(bypass="complex")
    with pytest.raises(ValueError, match=r"share_3x3 must be between 0 and 1, got 1\.0"):
        Fire(share_3x3=1.0)
    with pytest.raises(ValueError, match="at least 2 out_channels"):
        placed(Fire(), Layer(1))


def test_inverted_residual_macs_match_hand_arithmetic() -> None:
    graph = placed(InvertedResidual(expand_ratio=6), Layer(16))

    block = 81 * (16 * 96 + 96 * 9 + 96 * 16)
    assert count_macs(graph) == 81 * 3 * 16 + block + 10 * 16 * 81


def test_ghost_macs_match_hand_arithmetic() -> None:
    graph = placed(GhostBottleneck(expand_ratio=2), Layer(16))

    expand = 81 * (16 * 16 + 16 * 9)
    project = 81 * (32 * 8 + 8 * 9)
    assert count_macs(graph) == 81 * 3 * 16 + expand + project + 10 * 16 * 81


def test_ghost_needs_about_half_the_macs_of_the_inverted_residual_it_replaces() -> None:
    ghost = placed(GhostBottleneck(expand_ratio=6), Layer(64), 64)
    plain = placed(InvertedResidual(expand_ratio=6), Layer(64), 64)

    assert 0.4 < count_macs(ghost) / count_macs(plain) < 0.6


def test_ghost_squeezes_a_quarter_of_its_hidden_channels() -> None:
    graph = placed(GhostBottleneck(expand_ratio=6, se_ratio=0.25), Layer(16))

    assert convs(graph)["se.reduce"].out_channels == 24
    assert convs(graph)["se.gate"].activation == "hardsigmoid"


def test_ghost_refuses_odd_channels() -> None:
    with pytest.raises(ValueError, match="even out_channels, got 15"):
        placed(GhostBottleneck(), Layer(15))


def test_ghost_keeps_its_hidden_channels_even() -> None:
    graph = placed(GhostBottleneck(expand_ratio=3), Layer(16), in_channels=5)

    assert convs(graph)["expand.primary"].out_channels == 8


def test_xception_follows_its_entry_flow() -> None:
    graph = placed(XceptionBlock(num_convs=2), Layer(32, 2))

    names = [node.name.removeprefix("block.") for node in graph.nodes[1:-1]]
    assert names == [
        "activate",
        "conv1.depthwise",
        "conv1.pointwise",
        "conv2.depthwise",
        "conv2.pointwise",
        "pool",
        "shortcut",
        "sum",
    ]
    found = convs(graph)
    assert (found["conv1.depthwise"].norm, found["conv1.depthwise"].activation) == ("none", "none")
    assert found["conv1.pointwise"].activation == "relu"
    assert found["conv2.pointwise"].activation == "none"
    assert found["shortcut"].stride == (2, 2)


def test_xception_exit_flow_grows_at_its_last_convolution() -> None:
    graph = placed(XceptionBlock(num_convs=2, grow="last"), Layer(32))

    widths = [conv.out_channels for name, conv in convs(graph).items() if "pointwise" in name]
    assert widths == [16, 32]


def test_xception_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="grow must be 'first' or 'last', got 'both'"):
        XceptionBlock(grow="both")
    with pytest.raises(ValueError, match="num_convs must be at least 1, got 0"):
        XceptionBlock(num_convs=0)


def test_shuffle_v1_has_no_activation_after_its_depthwise_convolution() -> None:
    found = convs(placed(ShuffleV1(groups=4), Layer(16)))

    assert found["reduce"].activation == "relu"
    assert found["depthwise"].activation == "none"
    assert found["expand"].activation == "none"


def test_shuffle_v1_adds_at_stride_one_and_concatenates_at_stride_two() -> None:
    same = placed(ShuffleV1(groups=4), Layer(16))
    strided = placed(ShuffleV1(groups=4), Layer(48, 2))

    assert same.node("block.sum").operator == Add("relu")
    assert strided.node("block.concat").inputs == ("block.pool", "block.expand")
    assert convs(strided)["expand"].out_channels == 48 - 16
    assert convs(strided)["reduce"].out_channels == 48 // 4


def test_shuffle_v1_shuffles_between_its_grouped_convolutions() -> None:
    grouped = placed(ShuffleV1(groups=4), Layer(16))
    ungrouped = placed(ShuffleV1(groups=1), Layer(16))

    assert grouped.node("block.shuffle").operator == ChannelShuffle(4)
    assert "block.shuffle" not in grouped.shapes.keys() & ungrouped.shapes.keys()


def test_shuffle_v1_leaves_the_first_convolution_after_the_stem_ungrouped() -> None:
    found = convs(placed(ShuffleV1(groups=4, group_first=False), Layer(48, 2)))

    assert (found["reduce"].groups, found["expand"].groups) == (1, 4)


def test_shuffle_v1_names_channels_that_its_groups_do_not_divide() -> None:
    with pytest.raises(ValueError, match=r"block.expand: .*\(=26\) must be divisible by groups"):
        placed(ShuffleV1(groups=4), Layer(42, 2))


def test_shuffle_v2_leaves_half_of_the_map_untouched() -> None:
    graph = placed(ShuffleV2(), Layer(16))

    assert graph.node("block.concat").inputs == ("block.left", "block.right.pointwise")
    assert count_macs(graph) == 81 * (3 * 16 + 2 * 8 * 8 + 9 * 8) + 10 * 16 * 81


def test_shuffle_v2_refuses_odd_channels() -> None:
    with pytest.raises(ValueError, match="even out_channels for its two halves, got 15"):
        placed(ShuffleV2(), Layer(15))


def test_residual_blocks_project_the_input_only_where_shapes_differ() -> None:
    for block in (ResidualBasic(), ResidualBottleneck()):
        assert "shortcut" not in convs(placed(block, Layer(16)))
        assert convs(placed(block, Layer(16, 2)))["shortcut"].stride == (2, 2)
        assert "shortcut" in convs(placed(block, Layer(24)))


def test_residual_bottleneck_rounds_its_inner_width_to_the_groups() -> None:
    found = convs(placed(ResidualBottleneck(groups=4), Layer(24)))

    assert (found["conv"].out_channels, found["conv"].groups) == (8, 4)


def test_factorised_convolution_needs_fewer_macs_than_the_kernel_it_replaces() -> None:
    def macs(block: Block, channels: int = 32) -> int:
        return count_macs(placed(block, Layer(channels), channels))

    outside = macs(PlainConv(1)) - 81 * 32 * 32
    assert macs(FactorisedConv("1x5_5x1")) - outside == 81 * 32 * 32 * 10
    assert macs(FactorisedConv("3x3_3x3")) - outside == 81 * 32 * 32 * 18
    assert macs(PlainConv(5)) - outside == 81 * 32 * 32 * 25


def test_factorised_convolution_refuses_an_unknown_form() -> None:
    with pytest.raises(ValueError, match=r"form must be one of 1x3_3x1, .*, got '1x9_9x1'"):
        FactorisedConv("1x9_9x1")


def test_skip_adds_nothing_and_costs_nothing() -> None:
    graph = placed(Skip(), Layer(16))

    assert [node.name for node in graph.nodes] == ["stem", "classifier"]


@pytest.mark.parametrize("layer", [Layer(16, 2), Layer(24)])
def test_skip_refuses_to_change_the_shape(layer: Layer) -> None:
    with pytest.raises(ValueError, match="skip needs stride 1 and equal channels, got stride"):
        placed(Skip(), layer)


def test_peak_memory_of_a_block_holds_at_least_its_input_and_output() -> None:
    graph = placed(ShuffleV2(), Layer(16))

    assert network_cost(graph).peak_activation_bytes >= 2 * 4 * 16 * 81


def test_unknown_block_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown block 'gost'; known blocks: depthwise_sep"):
        get_block("gost")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="block 'ghost' is already registered by search_spaces"):
        register_block("ghost")(GhostBottleneck)
