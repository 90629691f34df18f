"""Quantizers stand where low-bit layers read, nowhere else, and no second time."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.blocks import BLOCKS, Block
from search_spaces.blocks.fire import Fire
from search_spaces.blocks.ghost import GhostBottleneck
from search_spaces.blocks.inverted_residual import InvertedResidual
from search_spaces.blocks.plain import PlainConv
from search_spaces.blocks.residual import ResidualBasic, ResidualBottleneck
from search_spaces.blocks.shuffle_v2 import ShuffleV2
from search_spaces.blocks.skip import Skip
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import (
    Add,
    AvgPool,
    ChannelSplit,
    Conv2d,
    Linear,
    Magnitude,
    MaxPool,
    Quantize,
)
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.codes import input_quantizer
from search_spaces.quantization.insertion import READS_CODES, add_quantizers, without_quantizers
from search_spaces.space.architecture import from_json, graph_hash, to_json
from search_spaces.space.misfits import check_space
from search_spaces.space.space import crossover, mutate, restore, sample
from tests.search_spaces.quantization.coded import (
    CODED,
    EVERY_PRECISION,
    chain,
    low_bit_layers,
    quantizers,
)

seeds = st.integers(0, 2**32 - 1)
CODED_READING = [name for name, p in PRECISIONS.items() if p.activations != "real"]
INTEGER_READING = [name for name, p in PRECISIONS.items() if p.activations == "integer"]
SIGN_READING = [name for name, p in PRECISIONS.items() if p.activations == "sign"]


def check_reads(graph: Graph) -> None:
    """Every low-bit layer reads codes of its own bits; others may, or view them."""
    for node in low_bit_layers(graph):
        assert isinstance(node.operator, Conv2d | Linear)
        quantize = input_quantizer(graph, node.inputs[0]).operator
        assert isinstance(quantize, Quantize)
        assert quantize.bits == node.operator.precision.activation_bits, node.name
    for name in quantizers(graph):
        for reader in graph.consumers[name]:
            assert reader in low_bit_layers(graph) or isinstance(
                reader.operator, (*READS_CODES, ChannelSplit)
            ), f"{reader.name} reads {name}"
        assert graph.consumers[name], f"nobody reads {name}"


@pytest.mark.parametrize("precision", EVERY_PRECISION)
@pytest.mark.parametrize("cls", [cls for cls in BLOCKS.values() if cls is not Skip])
def test_every_block_builds_at_every_precision_and_reads_codes_of_it(
    cls: type[Block], precision: str
) -> None:
    for stride, width in ((1, 32), (2, 32), (1, 48), (2, 64)):
        graph = chain(cls(), cls(), precision=precision, width=width, stride=stride)

        check_reads(graph)
        assert network_cost(graph).weight_bytes > 0
        assert bool(quantizers(graph)) == (precision in CODED_READING)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_quantizers_are_added_once_and_taken_away_whole(seed: int) -> None:
    graph = sample(CODED, Random(seed)).graph
    bare = without_quantizers(graph)

    assert not any(isinstance(n.operator, Quantize | Magnitude) for n in bare.nodes)
    assert add_quantizers(bare) == graph
    assert add_quantizers(graph) == graph
    assert without_quantizers(bare) == bare
    check_reads(graph)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_a_mixed_network_survives_its_file(seed: int) -> None:
    architecture = sample(CODED, Random(seed))

    again = from_json(to_json(architecture))

    assert again.graph == architecture.graph
    assert graph_hash(again.graph) == graph_hash(architecture.graph)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_mutation_and_crossover_evolve_precisions(seed: int) -> None:
    rng = Random(seed)
    mother, father = (dict(sample(CODED, rng).genes) for _ in range(2))

    child = dict(mutate(CODED, mother, rng, 3).genes)
    both = dict(crossover(CODED, mother, father, rng).genes)

    for genes in (child, both):
        assert restore(CODED, genes).genes == tuple(genes.items())
        assert {genes["stem.precision"], genes["head.precision"]} <= set(EVERY_PRECISION)
    inherited = {mother["stem.precision"], father["stem.precision"]}
    assert both["stem.precision"] in inherited


def test_a_mutation_changes_a_precision_and_nothing_else() -> None:
    parent = dict(sample(CODED, Random(0)).genes)
    changes = set()
    for seed in range(200):
        child = dict(mutate(CODED, parent, Random(seed), 1).genes)
        if child.keys() == parent.keys():
            changes |= {name for name in child if child[name] != parent[name]}

    assert {"stem.precision", "head.precision", "stage0.layer0.precision"} <= changes


def test_the_space_of_every_precision_has_no_misfit() -> None:
    check_space(CODED)


def test_layers_of_equal_bits_share_one_quantizer() -> None:
    graph = chain(Fire(), precision="w4a4")

    assert list(quantizers(graph)) == ["stem.q4", "b0.squeeze.q4"]
    assert [n.name for n in graph.consumers["b0.squeeze.q4"]] == [
        "b0.expand_1x1",
        "b0.expand_3x3",
    ]


def test_layers_of_other_bits_have_one_each() -> None:
    net = GraphBuilder((8, 4, 4))
    x = net.add("stem", Conv2d(8), net.input)
    eight = net.add("eight", Conv2d(8, precision=PRECISIONS["w8a8"]), x)
    two = net.add("two", Conv2d(8, precision=PRECISIONS["w2a2"]), x)
    net.add("sum", Add(), eight, two)

    graph = net.graph()

    assert graph.consumers["stem.q8"] == (graph.node("eight"),)
    assert graph.consumers["stem.q2"] == (graph.node("two"),)
    assert [n.name for n in graph.consumers["stem"]] == ["stem.q8", "stem.q2"]


@pytest.mark.parametrize("precision", INTEGER_READING)
def test_sums_between_integer_layers_read_eight_bits(precision: str) -> None:
    graph = chain(ResidualBasic(), ResidualBasic(), precision=precision)

    assert graph.node("b0.sum").inputs == ("stem.q8", "b0.conv2")
    assert graph.node("b1.sum").inputs == ("b0.sum.q8", "b1.conv2")
    assert isinstance(graph.node("stem.q8").operator, Quantize)


@pytest.mark.parametrize("precision", SIGN_READING)
def test_the_shortcut_between_binary_layers_is_real(precision: str) -> None:
    graph = chain(ResidualBasic(), ResidualBasic(), precision=precision)

    assert graph.node("b0.sum").inputs == ("stem", "b0.conv2")
    assert graph.node("b1.sum").inputs == ("b0.sum", "b1.conv2")
    assert {q.bits for q in quantizers(graph).values()} == {1}


def test_a_sum_of_real_maps_stays_real() -> None:
    for precision in ("fp32", "bwn"):
        assert quantizers(chain(ResidualBasic(), InvertedResidual(), precision=precision)) == {}


def test_a_sum_reads_eight_bits_of_what_integer_layers_concatenate() -> None:
    graph = chain(GhostBottleneck(), precision="w8a8")

    assert graph.node("b0.sum").inputs == ("stem.q8", "b0.project.concat.q8")


def test_the_identity_branch_of_shuffle_v2_is_coded() -> None:
    graph = chain(ShuffleV2(), ShuffleV2(), precision="w8a8")

    assert graph.node("b0.left").inputs == graph.node("b0.right").inputs == ("stem.q8",)
    assert graph.node("b1.left").inputs == graph.node("b1.right").inputs == ("b0.shuffle.q8",)
    assert graph.node("b1.right.reduce").inputs == ("b1.right",)
    assert input_quantizer(graph, "b1.right").name == "b0.shuffle.q8"


@pytest.mark.parametrize("precision", ["w4a4", "w2a2", "w1a2", "xnor"])
def test_below_eight_bits_only_the_half_that_is_transformed_is_coded(precision: str) -> None:
    graph = chain(ShuffleV2(), precision=precision)
    bits = PRECISIONS[precision].activation_bits

    assert graph.node("b0.left").inputs == graph.node("b0.right").inputs == ("stem",)
    assert graph.node("b0.right.reduce").inputs == (f"b0.right.q{bits}",)


@pytest.mark.parametrize("precision", ["w4a8", "w4a4", "w2a2", "w1a2", "xnor", "xnor_k"])
def test_the_depthwise_part_of_a_coded_block_takes_eight_bits(precision: str) -> None:
    graph = chain(InvertedResidual(), precision=precision)
    depthwise = graph.node("b0.depthwise")

    assert isinstance(depthwise.operator, Conv2d)
    assert depthwise.operator.precision.name == "w8a8"
    assert depthwise.inputs == ("b0.expand.q8",)


@pytest.mark.parametrize(
    ("precision", "width", "taken"),
    [
        ("w2a2", 256, "w8a8"),  # 64 inner channels in 4 groups of 16
        ("w2a2", 512, "w2a2"),  # of 32
        ("xnor", 256, "w8a8"),
        ("w4a4", 256, "w4a4"),
        ("bwn", 256, "bwn"),
        ("fp32", 256, "fp32"),
    ],
)
def test_groups_that_fill_no_word_take_eight_bits(precision: str, width: int, taken: str) -> None:
    graph = chain(ResidualBottleneck(groups=4), precision=precision, width=width)
    conv = graph.node("b0.conv").operator

    assert isinstance(conv, Conv2d)
    assert conv.precision.name == taken


@pytest.mark.parametrize(
    ("activation", "signed"),
    [
        ("relu", False),
        ("relu6", False),
        ("hardsigmoid", False),
        ("hardswish", True),
        ("none", True),
    ],
)
def test_codes_are_unsigned_after_an_activation_that_gives_no_negatives(
    activation: Activation, signed: bool
) -> None:
    net = GraphBuilder((8, 8, 8))
    x = net.add("stem", Conv2d(8, activation=activation), net.input)
    x = net.add("pool", MaxPool((2, 2), (2, 2)), x)
    net.add("conv", Conv2d(8, precision=PRECISIONS["w8a8"]), x)

    assert quantizers(net.graph())["pool.q8"].signed == signed


def test_the_image_has_signed_codes() -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("stem", Conv2d(8, precision=PRECISIONS["w8a8"]), net.input)
    graph = net.graph()

    assert quantizers(graph) == {"input.q8": Quantize(8, signed=True)}
    assert graph.node("input.q8").inputs == (INPUT,)


def test_a_sum_is_negative_where_an_operand_is() -> None:
    graph = chain(GhostBottleneck(), PlainConv(), precision="w8a8")
    assert quantizers(graph)["b0.sum.q8"].signed

    graph = chain(Fire(bypass="simple"), PlainConv(), precision="w8a8")
    assert not quantizers(graph)["b0.sum.q8"].signed


@pytest.mark.parametrize("precision", SIGN_READING)
def test_signs_are_taken_after_a_norm_of_their_own(precision: str) -> None:
    """XNOR-Net, section 3.3: batch norm, sign, convolution."""
    for quantize in quantizers(chain(PlainConv(), PlainConv(), precision=precision)).values():
        assert quantize == Quantize(1, norm="batch")


def test_the_magnitude_map_is_the_mean_over_the_window_of_each_output() -> None:
    graph = chain(PlainConv(3), precision="xnor_k", stride=2, width=64)

    assert graph.node("b0.conv").inputs == ("stem.q1", "b0.conv.window")
    assert graph.node("b0.conv.window").operator == AvgPool((3, 3), (2, 2), (1, 1))
    assert graph.node("b0.conv.window").inputs == ("b0.conv.magnitude",)
    assert graph.node("b0.conv.magnitude").inputs == ("stem",)
    assert graph.node("b0.conv.window").shape == (1, 4, 4)
    assert without_quantizers(graph).node("b0.conv").inputs == ("stem",)


def test_only_layers_that_ask_for_it_have_a_magnitude_map() -> None:
    for precision in EVERY_PRECISION:
        graph = chain(PlainConv(3), precision=precision)
        count = sum(isinstance(node.operator, Magnitude) for node in graph.nodes)
        assert count == (precision == "xnor_k")


def test_a_depthwise_convolution_names_the_precisions_it_can_have() -> None:
    net = GraphBuilder((8, 4, 4))

    with pytest.raises(ValueError, match="has precision fp32 or w8a8, got xnor"):
        net.add("a", Conv2d(8, groups=8, precision=PRECISIONS["xnor"]), net.input)


def test_a_linear_layer_has_no_magnitude_map() -> None:
    with pytest.raises(ValueError, match="no map of windows to scale; use precision xnor"):
        Linear(10, precision=PRECISIONS["xnor_k"])


def test_quantizers_are_named_after_their_maps() -> None:
    nodes: list[Node] = [
        node
        for precision in CODED_READING
        for node in chain(Fire(), ShuffleV2(), precision=precision).nodes
        if isinstance(node.operator, Quantize)
    ]

    assert nodes
    assert all(n.name == f"{n.inputs[0]}.q{n.operator.bits}" for n in nodes)  # type: ignore[attr-defined]


def test_float32_networks_are_left_as_they_are() -> None:
    net = GraphBuilder((3, 8, 8))
    x = PlainConv().add_to(net, net.input, Layer(8))
    net.add("classifier", Linear(10), x)

    assert net.graph() == Graph((3, 8, 8), net.nodes)


def test_a_map_that_is_read_twice_at_every_level_is_looked_at_once() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(8), net.input)
    for index in range(200):  # 2 ** 200 ways from the last to the first
        x = net.add(f"sum{index}", Add(), x, x)
    net.add("conv", Conv2d(8, precision=PRECISIONS["w8a8"]), x)

    assert quantizers(net.graph())["sum199.q8"] == Quantize(8)


def test_a_chain_may_be_longer_than_python_can_recurse() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.input
    for index in range(1500):
        x = net.add(f"pool{index}", MaxPool((1, 1), (1, 1)), x)
    net.add("conv", Conv2d(8, precision=PRECISIONS["w8a8"]), x)

    assert quantizers(net.graph())["pool1499.q8"] == Quantize(8, signed=True)


@pytest.mark.parametrize(("bits", "precision"), [(2, "xnor"), (4, "w8a8"), (8, "w4a4")])
def test_a_layer_that_reads_codes_of_other_bits_is_refused(bits: int, precision: str) -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("codes", Quantize(bits), net.add("stem", Conv2d(64), net.input))
    half = net.add("half", ChannelSplit(0, 32), x)
    net.add("conv", Conv2d(8, precision=PRECISIONS[precision]), half)

    with pytest.raises(ValueError, match=f"conv: it reads .-bit codes and codes makes {bits}-bit"):
        net.graph()


@pytest.mark.parametrize("precision", ["w2a2", "w1a2", "xnor", "xnor_k"])
def test_groups_that_no_word_holds_are_refused_by_name(precision: str) -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(14), net.input)

    with pytest.raises(ValueError, match=r"conv: a convolution in groups .* can have .* w8a8"):
        net.add("conv", Conv2d(14, groups=2, precision=PRECISIONS[precision]), x)
