"""Costs by hand arithmetic, and the guideline that ShuffleNet v2 draws from memory access."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.cost import (
    Cost,
    count_macs,
    count_params,
    kernel_costs,
    network_cost,
    peak_activation_bytes,
)
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import (
    Add,
    BatchNorm,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Operator,
    Scale,
    Shape,
)
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import NETWORKS


def alone(operator: Operator, *inputs: Shape) -> Cost:
    """The cost of one operator on the network's input."""
    net = GraphBuilder(inputs[0])
    net.add("it", operator, *([net.input] * len(inputs)))
    *_, (_, cost) = kernel_costs(net.graph())
    return cost


def test_a_convolution_costs_what_hand_arithmetic_says() -> None:
    cost = alone(Conv2d(16, (3, 3), stride=(2, 2), groups=4), (8, 10, 10))

    weights = 16 * (8 // 4) * 9
    assert cost.macs == weights * 5 * 5
    assert cost.params == weights + 2 * 16  # norm scale and shift, no running statistics
    assert cost.weight_bytes == 4 * (weights + 16)  # the norm is folded into one bias a channel
    assert cost.memory_access_bytes == 4 * (8 * 100 + 16 * 25) + cost.weight_bytes


def test_a_depthwise_convolution_does_one_kernel_per_channel() -> None:
    assert alone(Conv2d(8, (5, 5), groups=8), (8, 10, 10)).macs == 8 * 25 * 100


def test_a_linear_layer_costs_what_hand_arithmetic_says() -> None:
    cost = alone(Linear(10), (4, 3, 2))

    assert (cost.macs, cost.params) == (24 * 10, 24 * 10 + 10)
    assert cost.memory_access_bytes == 4 * (24 + 10 + 250)


def test_element_wise_kernels_move_bytes_and_multiply_nothing() -> None:
    pool = alone(MaxPool((2, 2), (2, 2)), (4, 6, 6))
    total = alone(Add("relu"), (4, 6, 6), (4, 6, 6))

    assert (pool.macs, pool.params, pool.memory_access_bytes) == (0, 0, 4 * 4 * (36 + 9))
    assert (total.macs, total.params) == (0, 0)
    assert total.memory_access_bytes == 4 * 3 * 4 * 36
    assert alone(ChannelShuffle(2), (4, 6, 6)).memory_access_bytes == 4 * 2 * 4 * 36


def test_a_norm_alone_costs_its_map_twice_and_two_numbers_a_channel() -> None:
    cost = alone(BatchNorm(), (6, 5, 4))

    maps, numbers = 2 * 4 * 6 * 5 * 4, 2 * 4 * 6
    assert cost == Cost(2 * 6, 0, maps + numbers, numbers)


@pytest.mark.parametrize("layer", [Conv2d(8, norm="none", activation="none"), Linear(8)])
def test_a_norm_that_joins_a_layer_costs_what_the_norm_of_a_convolution_does(
    layer: Conv2d | Linear,
) -> None:
    net = GraphBuilder((3, 5, 4))
    net.add("norm", BatchNorm(), net.add("layer", layer, net.input))
    biased = isinstance(layer, Linear)

    ((_, cost),) = kernel_costs(net.graph())

    own = alone(layer, (3, 5, 4))
    assert (cost.macs, cost.params) == (own.macs, own.params + 2 * 8)
    assert cost.weight_bytes == own.weight_bytes + (0 if biased else 4 * 8)


def test_a_sum_taken_in_by_a_convolution_costs_one_more_read() -> None:
    net = GraphBuilder((8, 6, 6))
    x = net.add("stem", Conv2d(8), net.input)
    plain = dict(costs_by_name(net.graph()))
    net = GraphBuilder((8, 6, 6))
    x = net.add("stem", Conv2d(8), net.input)
    net.add("sum", Add(), x, net.add("conv", Conv2d(8, activation="none"), x))

    fused = costs_by_name(net.graph())["conv"]

    assert fused.memory_access_bytes == plain["stem"].memory_access_bytes + 4 * 8 * 36


def costs_by_name(graph: Graph) -> Mapping[str, Cost]:
    return {kernel.node.name: cost for kernel, cost in kernel_costs(graph)}


def test_concatenation_is_free_and_split_reads_only_its_share() -> None:
    net = GraphBuilder((8, 6, 6))
    left = net.add("left", ChannelSplit(0, 4), net.input)
    right = net.add("right", ChannelSplit(4, 8), net.input)
    y = net.add("conv", Conv2d(4, norm="none"), right)
    net.add("concat", Concat(), left, y)

    costs = costs_by_name(net.graph())

    assert list(costs) == ["conv", "concat"]
    assert costs["concat"] == Cost(0, 0, 0, 0)
    assert costs["conv"].memory_access_bytes == 4 * (2 * 4 * 36 + 16)


def pointwise_access(in_channels: int, out_channels: int, side: int = 28) -> float:
    """Memory access of a 1x1 convolution in elements, as ShuffleNet v2 counts it."""
    cost = alone(Conv2d(out_channels, norm="none"), (in_channels, side, side))
    return cost.memory_access_bytes / 4


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 60))
def test_guideline_g1_equal_widths_need_the_least_memory_access(
    in_channels: int, out_channels: int, side: int
) -> None:
    """Equation 1 of ShuffleNet v2: access >= 2 sqrt(hw B) + B / hw, with B the MACs."""
    pixels = side * side
    macs = alone(Conv2d(out_channels, norm="none"), (in_channels, side, side)).macs
    bound = 2 * sqrt(pixels * macs) + macs / pixels

    access = pointwise_access(in_channels, out_channels, side)

    assert access == pixels * (in_channels + out_channels) + in_channels * out_channels
    assert access >= bound * (1 - 1e-12)
    if in_channels == out_channels:
        assert access == pytest.approx(bound, rel=1e-12)


def test_guideline_g1_uneven_widths_of_equal_macs_need_more_and_more() -> None:
    """The ratios 1:1, 1:4 and 1:16 of equal products, as in table 1 of ShuffleNet v2."""
    accesses = [pointwise_access(128 // k, 128 * k) for k in (1, 2, 4)]

    assert accesses == sorted(accesses)
    assert accesses[2] > 1.9 * accesses[0]


def test_guideline_g2_more_groups_need_more_memory_access_at_equal_macs() -> None:
    def access(groups: int) -> int:
        channels = 64 * groups  # the MACs stay the same with c1 * c2 / groups, c1 fixed
        cost = alone(Conv2d(channels, norm="none", groups=groups), (64, 28, 28))
        assert cost.macs == 64 * 64 * 784
        return cost.memory_access_bytes

    assert access(1) < access(2) < access(4) < access(8)


@pytest.mark.parametrize(
    ("precision", "bits"), [("fp32", 32), ("w8a8", 8), ("w4a8", 4), ("w1a2", 1), ("bwn", 1)]
)
def test_weight_bytes_follow_the_precision(precision: str, bits: int) -> None:
    conv = Conv2d(16, norm="none", bias=True, precision=PRECISIONS[precision])

    scales = 0 if bits == 32 else 4 * 16
    assert alone(conv, (8, 4, 4)).weight_bytes == 16 * 8 * bits // 8 + 4 * 16 + scales


def test_a_low_bit_convolution_reads_its_map_in_that_format() -> None:
    cost = alone(Conv2d(16, precision=PRECISIONS["w8a8"]), (8, 4, 4))

    assert cost.memory_access_bytes - cost.weight_bytes == 8 * 16 + 4 * 16 * 16


def test_a_coded_convolution_costs_what_hand_arithmetic_says() -> None:
    """16 channels of 8x8 to 32 of 4x4 by 3x3, between a float32 stem and a float32 classifier."""
    stem, weights, outputs = 4 * (16 * 3 + 16), 32 * 16 * 9, 32 * 4 * 4
    # Bytes: packed weights; a bias and a scale per channel; what the input's quantizer keeps.
    by_hand = {
        "fp32": (4 * weights + 4 * 32, 0, 4 * 16 * 64),
        "w8a8": (weights + 8 * 32, 4, 16 * 64),
        "w4a8": (weights // 2 + 8 * 32, 4, 16 * 64),
        "w4a4": (weights // 2 + 8 * 32, 4, 16 * 64),  # 4-bit maps are kept in bytes
        "w2a2": (weights // 4 + 8 * 32, 4, 16 * 64 // 4),
        "w1a2": (weights // 8 + 8 * 32, 4, 16 * 64 // 4),
        "bwn": (weights // 8 + 8 * 32, 0, 4 * 16 * 64),
        "xnor": (weights // 8 + 8 * 32, 8 * 16, 16 * 64 // 8),
    }
    for name, (conv_bytes, quantizer_bytes, input_bytes) in by_hand.items():
        net = GraphBuilder((3, 8, 8))
        x = net.add("stem", Conv2d(16), net.input)
        conv = Conv2d(32, (3, 3), (2, 2), precision=PRECISIONS[name])
        net.add("classifier", Linear(10), net.add("conv", conv, x))
        costs = {kernel.node.name: cost for kernel, cost in kernel_costs(net.graph())}

        assert costs["conv"].macs == weights * 16, name
        assert costs["conv"].weight_bytes == conv_bytes, name
        assert costs["conv"].memory_access_bytes == conv_bytes + input_bytes + 4 * outputs, name
        # The stem's kernel quantizes its result, and keeps what the quantizer needs.
        assert costs["stem"].weight_bytes == stem + quantizer_bytes, name
        assert (
            costs["stem"].memory_access_bytes == stem + quantizer_bytes + 4 * 3 * 64 + input_bytes
        ), name


def test_learned_steps_are_parameters() -> None:
    """A step per output channel and one of the map, or a norm's scale and shift before a sign."""
    net = GraphBuilder((8, 4, 4))
    net.add("conv", Conv2d(16, precision=PRECISIONS["w8a8"]), net.input)
    assert count_params(net.graph()) == 16 * 8 + 2 * 16 + 16 + 1

    net = GraphBuilder((8, 4, 4))
    net.add("conv", Conv2d(16, precision=PRECISIONS["xnor"]), net.input)
    assert count_params(net.graph()) == 16 * 8 + 2 * 16 + 2 * 8


def test_a_magnitude_map_costs_two_small_kernels() -> None:
    """The mean over 8 channels, then over windows of 3x3, both of 8x8 pixels."""
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(8), net.input)
    net.add("conv", Conv2d(16, (3, 3), precision=PRECISIONS["xnor_k"]), x)
    costs = {kernel.node.name: cost for kernel, cost in kernel_costs(net.graph())}

    assert costs["conv.magnitude"].memory_access_bytes == 4 * 64 * (8 + 1)
    assert costs["conv.window"].memory_access_bytes == 4 * 64 * 2
    assert costs["conv"].macs == 16 * 8 * 9 * 64
    signs, conv = 8 * 64 // 8, 16 * 8 * 9 // 8 + 8 * 16
    assert costs["conv"].memory_access_bytes == conv + signs + 4 * 64 + 4 * 16 * 64


def test_fewer_bits_never_take_more_bytes_in_layers_of_ordinary_width() -> None:
    order = ("fp32", "w8a8", "w4a8", "w2a2", "w1a2", "xnor")
    sizes = [
        alone(Conv2d(32, (3, 3), precision=PRECISIONS[name]), (32, 8, 8)).weight_bytes
        for name in order
    ]

    assert sizes == sorted(sizes, reverse=True)


def test_peak_memory_of_a_chain_is_its_largest_neighbours() -> None:
    net = GraphBuilder((1, 10, 10))
    x = net.add("a", Conv2d(4), net.input)
    x = net.add("b", Conv2d(6), x)
    net.add("c", Conv2d(2), x)

    assert peak_activation_bytes(net.graph()) == 4 * 100 * (4 + 6)


def test_peak_memory_keeps_a_residual_until_it_is_added() -> None:
    net = GraphBuilder((4, 10, 10))
    x = net.add("a", Conv2d(4), net.input)
    y = net.add("c", Conv2d(8), net.add("b", Conv2d(8), x))
    net.add("sum", Add(), x, net.add("d", Conv2d(4, activation="none"), y))

    assert peak_activation_bytes(net.graph()) == 4 * 100 * (4 + 8 + 8)


def test_parts_of_a_concatenation_lie_in_the_map_they_form() -> None:
    net = GraphBuilder((2, 10, 10))
    a, b = net.add("a", Conv2d(3), net.input), net.add("b", Conv2d(5), net.input)
    net.add("cat", Concat(), a, b)

    assert peak_activation_bytes(net.graph()) == 4 * 100 * (2 + 8)


def test_squeeze_and_excitation_costs_little() -> None:
    net = GraphBuilder((16, 8, 8))
    gate = net.add("squeeze", GlobalAvgPool(), net.input)
    gate = net.add("gate", Conv2d(16, norm="none", bias=True, activation="hardsigmoid"), gate)
    net.add("scale", Scale(), net.input, gate)

    costs = costs_by_name(net.graph())

    assert sum(cost.macs for cost in costs.values()) == 16 * 16
    assert costs["scale"].memory_access_bytes == 4 * (2 * 16 * 64 + 16)


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operator that no table knows."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        return {}


def test_an_operator_without_a_count_is_an_error_and_not_zero() -> None:
    with pytest.raises(UnsupportedOperatorError, match="no cost is known for operator 'Unknown'"):
        alone(Unknown(), (1, 2, 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_costs_the_sum_of_its_kernels(name: str) -> None:
    graph = NETWORKS[name](resolution=64, num_classes=5)
    costs = [cost for _, cost in kernel_costs(graph)]

    total = network_cost(graph)

    assert total.params == count_params(graph) == sum(cost.params for cost in costs)
    assert total.macs == count_macs(graph) == sum(cost.macs for cost in costs)
    assert total.memory_access_bytes == sum(cost.memory_access_bytes for cost in costs)
    assert total.weight_bytes == sum(cost.weight_bytes for cost in costs)
    assert total.memory_access_bytes > total.weight_bytes
    assert total.peak_activation_bytes >= 4 * prod(graph.input_shape)
