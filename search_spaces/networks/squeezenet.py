"""SqueezeNet 1.0 and 1.1.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB
model size", 2016, https://arxiv.org/abs/1602.07360, table 1; version 1.1 by the authors,
https://github.com/forresti/SqueezeNet/tree/master/SqueezeNet_v1.1.
Differs from the paper: no padding in the first convolution of version 1.0, as in the authors'
prototxt and torchvision. The paper has no width multiplier; widths round to multiples of 8.
"""

from search_spaces.blocks.fire import Fire
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import Conv2d, Dropout, GlobalAvgPool, MaxPool
from search_spaces.networks.parts import image_input, scaled
from search_spaces.networks.registry import register_network

Plan = tuple[int | None, ...]  # output channels of each Fire module; None is a max pool
PLAN_1_0: Plan = (None, 128, 128, 256, None, 256, 384, 384, 512, None, 512)
PLAN_1_1: Plan = (None, 128, 128, None, 256, 256, None, 384, 384, 512, 512)


@register_network("squeezenet_1_0")
def squeezenet_1_0(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns SqueezeNet 1.0: a 7x7 stem, pools after the stem, fire4 and fire8."""
    net = image_input(in_channels, resolution)
    x = add_stem(net, scaled(96, width), 7)
    return add_fires(net, x, PLAN_1_0, width, num_classes)


@register_network("squeezenet_1_1")
def squeezenet_1_1(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns SqueezeNet 1.1: a 3x3 stem and earlier pools, 2.4 times less computation."""
    net = image_input(in_channels, resolution)
    x = add_stem(net, scaled(64, width), 3)
    return add_fires(net, x, PLAN_1_1, width, num_classes)


def add_stem(net: GraphBuilder, channels: int, kernel_size: int) -> Node:
    conv = Conv2d(
        channels,
        (kernel_size, kernel_size),
        (2, 2),
        padding=(0, 0),
        norm="none",
        bias=True,
    )
    return net.add("stem", conv, net.input)


def add_fires(net: GraphBuilder, x: Node, plan: Plan, width: float, num_classes: int) -> Graph:
    number = 1  # the paper calls the stem conv1 and the first module fire2
    for channels in plan:
        if channels is None:
            x = net.add(f"pool{number}", MaxPool((3, 3), (2, 2), ceil_mode=True), x)
            continue
        number += 1
        with net.scope(f"fire{number}"):
            x = Fire(norm="none").add_to(net, x, Layer(scaled(channels, width)))
    x = net.add("dropout", Dropout(0.5), x)
    x = net.add("classifier", Conv2d(num_classes, norm="none", bias=True), x)
    net.add("pool", GlobalAvgPool(), x)
    return net.graph()
