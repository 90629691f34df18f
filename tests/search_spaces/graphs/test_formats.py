"""Formats: between low-bit layers no float map is kept, and what only moves moves codes."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.blocks import Block
from search_spaces.blocks.fire import Fire
from search_spaces.blocks.ghost import GhostBottleneck
from search_spaces.blocks.plain import PlainConv
from search_spaces.blocks.residual import ResidualBasic
from search_spaces.blocks.shuffle_v2 import ShuffleV2
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.formats import REAL, Formats, stored_bits
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Concat, Conv2d, MaxPool, Quantize
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.space.space import sample
from tests.search_spaces.quantization.coded import CODED, chain


def kept(graph: Graph) -> dict[str, tuple[str, ...]]:
    return dict(Formats(graph).kept)


def kept_in(graph: Graph, block: str) -> dict[str, tuple[str, ...]]:
    """The formats of the maps of one block, quantizers left out."""
    return {
        name.removeprefix(f"{block}."): formats
        for name, formats in kept(graph).items()
        if name.startswith(f"{block}.") and not isinstance(graph.node(name).operator, Quantize)
    }


def test_fire_writes_both_expansions_as_codes_of_their_concatenation() -> None:
    graph = chain(Fire(), Fire(), precision="w8a8")

    assert kept(graph)["stem"] == ("stem.q8",)
    assert kept_in(graph, "b0") == {
        "squeeze": ("b0.squeeze.q8",),
        "expand_1x1": ("b0.concat.q8",),
        "expand_3x3": ("b0.concat.q8",),
        "concat": ("b0.concat.q8",),
    }
    # The classifier reads float32 numbers of the last one.
    assert kept_in(graph, "b1")["concat"] == (REAL,)


@pytest.mark.parametrize(("width", "carried"), [(32, False), (64, True)])
@pytest.mark.parametrize("precision", ["w2a2", "w1a2", "xnor"])
def test_packed_codes_are_concatenated_only_in_whole_words(
    precision: str, width: int, carried: bool
) -> None:
    """Each expansion has half the channels; 16 would share a word of 32 with the other's."""
    graph = chain(Fire(), Fire(), precision=precision, width=width, in_channels=width)
    code = f"b0.concat.q{PRECISIONS[precision].activation_bits}"

    assert kept_in(graph, "b0")["expand_1x1"] == ((code,) if carried else (REAL,))
    assert kept_in(graph, "b0")["concat"] == (code,)


def test_ghost_writes_its_primary_maps_once_for_each_reader() -> None:
    graph = chain(GhostBottleneck(), precision="w8a8")

    maps = kept_in(graph, "b0")
    assert maps["expand.primary"] == ("b0.expand.concat.q8", "b0.expand.primary.q8")
    assert maps["expand.cheap"] == ("b0.expand.concat.q8",)
    assert maps["expand.concat"] == ("b0.expand.concat.q8",)
    assert maps["project.concat"] == ("b0.project.concat.q8",)
    assert maps["sum"] == (REAL,)


def test_shuffle_v2_splits_concatenates_and_shuffles_codes() -> None:
    graph = chain(ShuffleV2(), ShuffleV2(), precision="w8a8")

    maps = kept_in(graph, "b0")
    assert maps["left"] == maps["right"] == ("stem.q8",)
    assert maps["right.pointwise"] == ("b0.shuffle.q8",)
    assert maps["concat"] == maps["shuffle"] == ("b0.shuffle.q8",)
    assert Formats(graph).native["b0.left"] == "stem.q8"
    # Codes of another step cannot stand beside those of the shuffled map as they are.
    assert Formats(graph).native["b0.concat"] is None


def test_a_residual_sum_of_integer_layers_reads_and_writes_codes() -> None:
    graph = chain(ResidualBasic(), ResidualBasic(), precision="w4a8")

    assert kept_in(graph, "b0") == {
        "conv1": ("b0.conv1.q8",),
        "conv2": (REAL,),  # joined by the sum, and never written
        "sum": ("b0.sum.q8",),
    }


def test_a_residual_sum_of_binary_layers_is_kept_as_numbers_and_as_signs() -> None:
    graph = chain(ResidualBasic(), ResidualBasic(), precision="xnor")

    assert kept(graph)["stem"] == (REAL, "stem.q1")
    assert kept_in(graph, "b0")["conv1"] == ("b0.conv1.q1",)
    assert kept_in(graph, "b0")["sum"] == (REAL, "b0.sum.q1")


def test_a_lower_residual_precision_keeps_the_sum_in_both_codes() -> None:
    graph = chain(ResidualBasic(), ResidualBasic(), precision="w2a2")

    assert kept(graph)["stem"] == ("stem.q2", "stem.q8")
    assert kept_in(graph, "b0")["sum"] == ("b0.sum.q2", "b0.sum.q8")


def pooled(precision: str, channels: int = 32) -> Graph:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(channels), net.input)
    x = net.add("pool", MaxPool((2, 2), (2, 2)), x)
    net.add("conv", Conv2d(channels, precision=PRECISIONS[precision]), x)
    return net.graph()


def test_max_pooling_runs_on_codes_of_four_bits_and_more() -> None:
    assert kept(pooled("w8a8"))["stem"] == ("pool.q8",)
    assert kept(pooled("w4a4"))["stem"] == ("pool.q4",)
    assert kept(pooled("w2a2"))["stem"] == (REAL,)
    assert kept(pooled("xnor"))["stem"] == (REAL,)


def test_maps_take_the_bytes_of_their_formats() -> None:
    graph = chain(ResidualBasic(), ResidualBasic(), precision="w2a2")
    formats, pixels = Formats(graph), 32 * 8 * 8

    assert formats.map_bytes("stem") == pixels * (2 + 8) // 8
    assert formats.map_bytes("b0.conv1") == pixels * 2 // 8
    assert formats.map_bytes("b1.sum") == pixels * 4
    assert formats.read_bytes(graph.node("b0.conv1"), "stem.q2") == pixels * 2 // 8
    assert formats.read_bytes(graph.node("b0.sum"), "stem.q8") == pixels


def test_a_pool_that_moves_codes_reads_codes() -> None:
    graph = pooled("w8a8")
    formats = Formats(graph)

    assert formats.read_bytes(graph.node("pool"), "stem") == 32 * 8 * 8
    assert formats.map_bytes("pool") == 32 * 4 * 4


def test_four_bit_maps_are_kept_in_bytes() -> None:
    assert [stored_bits(bits) for bits in (1, 2, 4, 8)] == [1, 2, 8, 8]
    formats = Formats(chain(PlainConv(), precision="w4a4"))
    assert formats.map_bytes("stem") == 32 * 8 * 8


def test_a_concatenation_with_an_activation_computes_and_reads_numbers() -> None:
    net = GraphBuilder((3, 8, 8))
    parts = [net.add(name, Conv2d(32, activation="none"), net.input) for name in "ab"]
    x = net.add("concat", Concat("relu"), *parts)
    net.add("conv", Conv2d(8, precision=PRECISIONS["w8a8"]), x)

    assert kept(net.graph())["a"] == (REAL,)
    assert kept(net.graph())["concat"] == ("concat.q8",)


@pytest.mark.parametrize("block", [PlainConv(), Fire(), ShuffleV2(), GhostBottleneck()])
@pytest.mark.parametrize("precision", ["w8a8", "w4a8"])
def test_between_eight_bit_layers_no_number_is_kept(block: Block, precision: str) -> None:
    """Up to the last block, whose output the float32 classifier reads."""
    graph = chain(block, block, precision=precision)
    inner = {n: f for n, f in kept(graph).items() if n.startswith("b0") or n == "stem"}
    joined = {"b0.sum"} & inner.keys()

    assert all(REAL not in formats for formats in inner.values())
    assert joined == ({"b0.sum"} if isinstance(block, GhostBottleneck) else set())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_map_is_kept_in_some_format_and_every_reader_finds_its_own(seed: int) -> None:
    graph = sample(CODED, Random(seed)).graph
    formats = Formats(graph)

    assert all(formats.kept[name] for name in graph.shapes)
    assert formats.kept[graph.output.name] == (REAL,)
    for node in graph.nodes:
        for name in node.inputs:
            native = formats.native[name]
            wishes = formats.wishes(node, dict.fromkeys(formats.kept[node.name]))
            assert native is not None or set(wishes) <= set(formats.kept[name]), node.name
