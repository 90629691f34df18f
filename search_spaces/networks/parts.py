"""Parts that several published networks share: stem, stages, heads."""

from collections.abc import Sequence

from search_spaces.blocks.registry import Block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.building.rounding import make_divisible
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import Conv2d, Dropout, GlobalAvgPool, Linear


def image_input(in_channels: int, resolution: int) -> GraphBuilder:
    """Returns a builder of networks on square images."""
    return GraphBuilder((in_channels, resolution, resolution))


def stem(
    net: GraphBuilder,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 2,
    activation: Activation = "relu",
) -> Node:
    """Adds the first convolution, with batch norm."""
    conv = Conv2d(
        out_channels, (kernel_size, kernel_size), (stride, stride), activation=activation
    )
    return net.add("stem", conv, net.input)


def stack(
    net: GraphBuilder, x: Node, name: str, layers: Sequence[tuple[Block, Layer]], first: int = 0
) -> Node:
    """Adds blocks one after the other, in scopes ``<name>.layer<first>`` and on."""
    for index, (block, layer) in enumerate(layers, first):
        with net.scope(f"{name}.layer{index}"):
            x = block.add_to(net, x, layer)
    return x


def classify(
    net: GraphBuilder, x: Node, num_classes: int, dropout: float = 0.0, bias: bool = True
) -> Graph:
    """Adds global pooling, dropout and the classifier, and returns the finished network."""
    x = net.add("pool", GlobalAvgPool(), x)
    if dropout:
        x = net.add("dropout", Dropout(dropout), x)
    net.add("classifier", Linear(num_classes, bias=bias), x)
    return net.graph()


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier, in multiples of 8, for networks published without one."""
    return make_divisible(channels * width, 8)
