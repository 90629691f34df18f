"""Graphs that every back end must run: each operator's forms, each block, each published network.

Blocks and networks come from their registries, so a new one is tested without a line here.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.activations import ACTIVATIONS
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import (
    Activate,
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Magnitude,
    MaxPool,
    Operator,
    Quantize,
    Scale,
    Shape,
)
from search_spaces.graphs.precision import BITS, FP32, PRECISIONS, Precision, Sparsity
from search_spaces.networks import NETWORKS
from search_spaces.networks.registry import Network

RESOLUTIONS = (28, 32, 64)

CONVOLUTIONS = {
    "pointwise": Conv2d(5),
    "3x3": Conv2d(6, (3, 3)),
    "strided": Conv2d(6, (3, 3), stride=(2, 2)),
    "uneven_stride": Conv2d(6, (3, 3), stride=(1, 2)),
    "1x3": Conv2d(6, (1, 3)),
    "5x1": Conv2d(6, (5, 1)),
    "even_kernel": Conv2d(6, (2, 4), stride=(2, 2), padding=(0, 1)),
    "unpadded": Conv2d(6, (3, 3), padding=(0, 0)),
    "wide_padding": Conv2d(6, (3, 3), padding=(3, 2)),
    "dilated": Conv2d(6, (3, 3), dilation=(2, 1)),
    "grouped": Conv2d(8, (3, 3), groups=4),
    "depthwise": Conv2d(8, (5, 5), groups=8, stride=(2, 2)),
    "depthwise_large": Conv2d(8, (13, 9), groups=8, stride=(1, 2)),
    "depthwise_large_dilated": Conv2d(8, (3, 40), groups=8, dilation=(2, 1)),
    "depthwise_multiplied": Conv2d(16, (3, 3), groups=8),
    "end_padding": Conv2d(6, (3, 3), stride=(2, 2), padding=(0, 0), end_padding=(1, 1)),
    "end_padding_uneven": Conv2d(6, (4, 3), stride=(1, 2), padding=(1, 0), end_padding=(2, 3)),
    "end_padding_less": Conv2d(6, (3, 3), padding=(2, 1), dilation=(1, 2), end_padding=(0, 1)),
    "end_padding_depthwise": Conv2d(
        *(8, (3, 3), (2, 2), (0, 0)), groups=8, end_padding=(1, 1), activation="relu6"
    ),
    "end_padding_grouped": Conv2d(8, (2, 2), padding=(0, 1), end_padding=(1, 0), groups=2),
    "without_norm": Conv2d(6, (3, 3), norm="none"),
    "bias_and_norm": Conv2d(6, (3, 3), bias=True),
} | {f"conv_{name}": Conv2d(6, (3, 3), activation=name) for name in ACTIVATIONS}

OTHERS: dict[str, tuple[Shape, Operator]] = {
    "linear": ((3, 4, 5), Linear(7)),
    "linear_relu": ((9, 1, 1), Linear(7, bias=False, activation="relu")),
    "linear_sparse": ((3, 4, 5), Linear(7, sparsity=Sparsity(0.3))),
    "linear_shared": ((9, 5, 1), Linear(37, activation="hardswish", sparsity=Sparsity(0.4, 3))),
    "linear_of_many_values": ((70, 1, 1), Linear(21, bias=False, sparsity=Sparsity(0.5, 8))),
    "channel_shuffle": ((12, 5, 3), ChannelShuffle(3)),
    "activate": ((4, 5, 5), Activate("hardsigmoid")),
    "max_pool": ((4, 9, 8), MaxPool((3, 3), (2, 2), (1, 1))),
    "max_pool_ceil": ((4, 8, 7), MaxPool((3, 3), (2, 2), ceil_mode=True)),
    "max_pool_ceil_padded": ((4, 7, 8), MaxPool((3, 2), (3, 3), (1, 0), ceil_mode=True)),
    "max_pool_end_padding": ((4, 8, 7), MaxPool((3, 3), (2, 2), end_padding=(1, 2))),
    "max_pool_wide_padding": (
        (4, 5, 7),
        MaxPool((3, 2), (2, 1), (2, 1), ceil_mode=True, end_padding=(1, 0)),
    ),
    "max_pool_of_map": ((5, 7, 6), MaxPool((7, 6), (1, 1))),
    "avg_pool_of_map": ((5, 7, 6), AvgPool((7, 6), (7, 6))),
    "avg_pool_overlapping": ((4, 9, 8), AvgPool((5, 4), (2, 3), (2, 1))),
    "avg_pool_end_padding": ((4, 9, 8), AvgPool((3, 2), (2, 2), (0, 1), end_padding=(1, 0))),
    "avg_pool_ceil": ((4, 8, 7), AvgPool((3, 2), (2, 2), ceil_mode=True)),
    "avg_pool_ceil_padded": ((4, 8, 7), AvgPool((3, 3), (2, 2), (1, 0), ceil_mode=True)),
    "avg_pool_inside": ((4, 8, 7), AvgPool((3, 3), (1, 1), (1, 1), count_include_pad=False)),
    "avg_pool_ceil_inside": (
        (4, 8, 7),
        AvgPool((3, 3), (2, 3), (1, 2), True, count_include_pad=False, end_padding=(0, 2)),
    ),
    "avg_pool_ceil_end_padding": (
        (4, 8, 7),
        AvgPool((4, 3), (3, 2), (3, 0), ceil_mode=True, end_padding=(1, 1)),
    ),
    "avg_pool": ((4, 9, 8), AvgPool((3, 3), (2, 2), (1, 1))),
    "global_avg_pool": ((4, 7, 5), GlobalAvgPool()),
    "dropout": ((4, 3, 3), Dropout(0.5)),
    "batch_norm": ((5, 6, 4), BatchNorm()),
    "batch_norm_hardswish": ((19, 3, 5), BatchNorm(activation="hardswish")),
    "batch_norm_of_vector": ((21, 1, 1), BatchNorm(activation="none")),
    "layer_norm": ((21, 5, 3), LayerNorm()),
    "layer_norm_of_vector": ((40, 1, 1), LayerNorm(0.1)),
    "layer_norm_of_one": ((1, 3, 2), LayerNorm()),
    "response_norm": ((21, 5, 3), LocalResponseNorm(5, 1e-1)),
    "response_norm_of_many": ((70, 3, 2), LocalResponseNorm(5, 0.5, 0.5, 0.25)),
    "response_norm_wide": ((11, 3, 2), LocalResponseNorm(15, 1e-1, 1.3, 2.0)),
    "response_norm_of_one": ((1, 3, 2), LocalResponseNorm(3, 1.0)),
    "magnitude": ((5, 6, 4), Magnitude()),
    "sign": ((5, 6, 4), Quantize(1)),
    "norm_sign": ((5, 6, 4), Quantize(1, norm="batch")),
}
OTHERS |= {
    f"quantize{bits}{'_signed' * signed}": ((5, 6, 4), Quantize(bits, signed))
    for bits in BITS[1:]
    for signed in (False, True)
}
LOW_BIT = {name: precision for name, precision in PRECISIONS.items() if precision != FP32}
LOW_BIT_FORMS: dict[str, Conv2d | Linear] = {
    "pointwise": Conv2d(7),
    "3x3": Conv2d(7, (3, 3)),
    "strided": Conv2d(7, (3, 3), stride=(2, 2), activation="none"),
    "5x5": Conv2d(5, (5, 5), stride=(2, 1), activation="hardswish"),
    "end_padding": Conv2d(5, (3, 3), stride=(2, 2), padding=(0, 0), end_padding=(1, 1)),
    "end_padding_less": Conv2d(5, (3, 2), stride=(1, 2), padding=(1, 1), end_padding=(0, 0)),
    "biased": Conv2d(5, (1, 3), norm="none", bias=True, activation="relu6"),
    "grouped": Conv2d(6, (3, 3), groups=2, activation="hardsigmoid"),
    "linear": Linear(5),
}


def graph_of(shape: Shape, operator: Operator) -> Graph:
    net = GraphBuilder(shape)
    net.add("node", operator, net.input)
    return net.graph()


def add() -> Graph:
    net = GraphBuilder((4, 6, 6))
    x = net.add("a", Conv2d(8, (3, 3)), net.input)
    y = net.add("b", Conv2d(8, activation="none"), x)
    net.add("sum", Add("relu"), x, y)
    return net.graph()


def add_of_maps() -> Graph:
    net = GraphBuilder((4, 6, 6))
    pool = net.add("pool", AvgPool((3, 3), (1, 1), (1, 1)), net.input)
    net.add("sum", Add("hardswish"), pool, net.input)
    return net.graph()


def add_to_itself() -> Graph:
    net = GraphBuilder((4, 6, 6))
    net.add("sum", Add(), net.input, net.input)
    return net.graph()


def concat() -> Graph:
    net = GraphBuilder((4, 6, 6))
    parts = [net.add(f"part{size}", Conv2d(size), net.input) for size in (3, 5, 6)]
    net.add("joined", Concat("relu6"), *parts, net.input)
    return net.graph()


def split_and_shuffle() -> Graph:
    net = GraphBuilder((8, 6, 6))
    x = net.add("first", Conv2d(8), net.input)
    left = net.add("left", ChannelSplit(0, 3), x)
    right = net.add("right", Conv2d(5), net.add("rest", ChannelSplit(3, 8), x))
    net.add("mixed", ChannelShuffle(2), net.add("joined", Concat(), left, right))
    return net.graph()


def scale() -> Graph:
    net = GraphBuilder((4, 6, 6))
    gate = Conv2d(4, norm="none", bias=True, activation="hardsigmoid")
    squeezed = net.add("squeeze", GlobalAvgPool(), net.input)
    net.add("scaled", Scale(), net.input, net.add("gate", gate, squeezed))
    return net.graph()


def pre_activation() -> Graph:
    """Norms before the convolutions, of a sum that others read, and of a join."""
    net = GraphBuilder((4, 6, 6))
    x = net.add("stem", Conv2d(12, (3, 3), norm="none", activation="none"), net.input)
    y = net.add("first", Conv2d(12, (3, 3), activation="none"), net.add("n1", BatchNorm(), x))
    x = net.add("sum", Add(), x, y)
    y = net.add("second", Conv2d(5, norm="none"), net.add("n2", BatchNorm(activation="relu6"), x))
    x = net.add("n3", BatchNorm(), net.add("joined", Concat(), x, y))
    net.add("last", Conv2d(6, padding=(1, 1), norm="none"), x)
    return net.graph()


def norms_behind() -> Graph:
    """Norms that join the layers before them, one of them with the sum behind it."""
    net = GraphBuilder((4, 6, 6))
    bare = Conv2d(8, (3, 3), norm="none", activation="none")
    x = net.add("n1", BatchNorm(), net.add("first", bare, net.input))
    y = net.add("second", Conv2d(8, bias=True, activation="none"), x)
    y = net.add("n2", BatchNorm(activation="none"), y)
    x = net.add("sum", Add("relu"), x, y)
    x = net.add("n3", BatchNorm(activation="hardswish"), net.add("hidden", Linear(9), x))
    net.add("logits", Linear(5), x)
    return net.graph()


def perceptron() -> Graph:
    """Linear layers in a row, with a sum between them and a convolution on their result."""
    net = GraphBuilder((3, 4, 4))
    a = net.add("a", Linear(8, activation="relu"), net.input)
    b = net.add("b", Linear(8), net.add("drop", Dropout(0.2), a))
    c = net.add("c", Conv2d(6), net.add("sum", Add("relu"), a, b))
    net.add("logits", Linear(5), c)
    return net.graph()


def precision_graphs() -> dict[str, Graph]:
    """Every low-bit precision in the forms that a back end can get wrong.

    Layers read signed codes of the input, or unsigned ones of a map after ReLU; channels and map
    sizes are no multiples of anything.
    """
    graphs = {}
    for name, precision in LOW_BIT.items():
        for form, operator in LOW_BIT_FORMS.items():
            if isinstance(operator, Conv2d) or not precision.magnitude_map:
                low = replace(operator, precision=precision)
                graphs[f"{name}-{form}"] = low_bit_graph(low, signed=False)
                graphs[f"{name}-{form}-signed"] = low_bit_graph(low, signed=True)
        graphs[f"{name}-norms"] = low_bit_norms(precision)
        graphs[f"{name}-channel-norms"] = low_bit_channel_norms(precision)
        graphs[f"{name}-residual"] = low_bit_residual(precision)
        graphs[f"{name}-branches"] = low_bit_branches(precision)
    depthwise = Conv2d(12, (3, 3), groups=12, precision=LOW_BIT["w8a8"])
    graphs["w8a8-depthwise"] = low_bit_graph(depthwise, signed=False, channels=12)
    for kernel in ((13, 9), (12, 10), (3, 40)):
        large = replace(depthwise, kernel_size=kernel)
        graphs[f"w8a8-depthwise-{kernel[0]}x{kernel[1]}"] = low_bit_graph(
            large, signed=False, channels=12
        )
    return graphs


def low_bit_graph(operator: Conv2d | Linear, *, signed: bool, channels: int = 0) -> Graph:
    groups = operator.groups if isinstance(operator, Conv2d) else 1
    channels = channels or (groups * 32 if groups > 1 else 37)
    net = GraphBuilder((channels if signed else 3, 9, 7))
    x = net.input if signed else net.add("before", Conv2d(channels), net.input)
    net.add("low", operator, x)
    return net.graph()


def low_bit_residual(precision: Precision) -> Graph:
    """Two layers around a sum: its operand is coded for integer layers and real for binary."""
    net = GraphBuilder((3, 6, 5))
    x = net.add("before", Conv2d(33), net.input)
    y = net.add("first", Conv2d(33, (3, 3), precision=precision, activation="none"), x)
    x = net.add("sum", Add("relu"), x, y)
    net.add("second", Conv2d(4, precision=precision), x)
    return net.graph()


def low_bit_channel_norms(precision: Precision) -> Graph:
    """Norms over channels between layers, of maps that others read, too, and before a concat."""
    net = GraphBuilder((3, 6, 5))
    x = net.add("before", Conv2d(33), net.input)
    x = net.add("first", Conv2d(37, (3, 3), precision=precision), x)
    y = net.add("response", LocalResponseNorm(5, 0.5), x)
    y = net.add("second", Conv2d(37, precision=precision, activation="silu"), y)
    z = net.add("layer", LayerNorm(), net.add("sum", Add(), x, y))
    z = net.add("joined", Concat(), z, net.add("again", LocalResponseNorm(3), y))
    net.add("last", Conv2d(4, precision=precision), z)
    return net.graph()


def low_bit_norms(precision: Precision) -> Graph:
    """Norms before a layer, behind one, and of a sum."""
    net = GraphBuilder((3, 6, 5))
    x = net.add("before", Conv2d(33, norm="none", activation="none"), net.input)
    low = Conv2d(33, (3, 3), precision=precision, activation="none", norm="none")
    y = net.add("first", low, net.add("n1", BatchNorm(), x))
    y = net.add("n2", BatchNorm(activation="hardswish"), y)
    x = net.add("n3", BatchNorm(activation="none"), net.add("sum", Add(), x, y))
    net.add("second", Conv2d(4, precision=precision), x)
    return net.graph()


def low_bit_branches(precision: Precision) -> Graph:
    """Everything that moves numbers, between low-bit layers."""
    net = GraphBuilder((3, 8, 8))
    x = net.add("before", Conv2d(64), net.input)
    left = net.add("left", Conv2d(32, precision=precision), net.add("a", ChannelSplit(0, 32), x))
    right = net.add("right", ChannelSplit(32, 64), x)
    x = net.add("mixed", ChannelShuffle(2), net.add("joined", Concat(), left, right))
    x = net.add("pool", MaxPool((3, 3), (2, 2), (1, 1)), x)
    x = net.add("last", Conv2d(8, (3, 3), precision=precision), net.add("drop", Dropout(0.1), x))
    x = net.add("inside", AvgPool((3, 3), (1, 1), (1, 1), count_include_pad=False), x)
    net.add("logits", Linear(4), net.add("mean", GlobalAvgPool(), x))
    return net.graph()


def operator_graphs() -> dict[str, Graph]:
    """Every operator in the forms that a back end can get wrong."""
    return (
        {name: graph_of((8, 9, 10), op) for name, op in CONVOLUTIONS.items()}
        | {name: graph_of(shape, op) for name, (shape, op) in OTHERS.items()}
        | {
            build.__name__: build()
            for build in (
                add,
                add_of_maps,
                add_to_itself,
                concat,
                split_and_shuffle,
                scale,
                pre_activation,
                norms_behind,
                perceptron,
            )
        }
    )


def block_graphs(
    channels: int = 24, size: int = 8, precision: Precision = FP32
) -> dict[str, Graph]:
    """Every registered block at both strides, with and without a change of width."""
    graphs = {}
    for name, block in BLOCKS.items():
        for stride, out_channels in ((1, channels), (1, 2 * channels), (2, 2 * channels)):
            net = GraphBuilder((channels, size, size))
            x = net.add("before", Conv2d(channels), net.input)  # a block may add nothing
            try:
                block().add_to(net, x, Layer(out_channels, stride=stride, precision=precision))
                graphs[f"{name}-{out_channels}-s{stride}"] = net.graph()
            except ValueError:  # a block may refuse a shape; its own tests say which
                continue
    return graphs


def network_graphs() -> dict[str, Graph]:
    """Every published network, thin and at the smallest resolution that it takes of a few."""
    return {name: smallest(network) for name, network in NETWORKS.items()}


def smallest(network: Network) -> Graph:
    for resolution in RESOLUTIONS:
        with suppress(UserError):
            return network(width=0.5, resolution=resolution, num_classes=10)
    raise AssertionError(f"the network takes none of {RESOLUTIONS}")


def operators_in(graphs: Iterable[Graph]) -> set[type]:
    return {type(node.operator) for graph in graphs for node in graph.nodes}
