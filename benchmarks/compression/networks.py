"""The networks that are compressed: published shapes for 32x32 images, at a width two cores train.

VGG-16 is the form of Liu et al., "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017: batch norm behind each convolution and one linear layer. ResNet is that of
He et al., CVPR 2016, section 4.2, ``6n + 2`` layers deep, with 1x1 convolutions where a shortcut
changes shape. Both end in as many classes as the data has.
"""

from collections.abc import Callable

from search_spaces.blocks.plain import PlainConv
from search_spaces.blocks.residual import ResidualBasic
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear, MaxPool
from search_spaces.networks.vgg import STAGES

IMAGE = (3, 32, 32)


def vgg16(width: float, classes: int = 10) -> Graph:
    """Returns thirteen 3x3 convolutions with batch norm and a linear layer."""
    net = GraphBuilder(IMAGE)
    x = net.input
    for index, (channels, depth) in enumerate(STAGES):
        for number in range(depth):
            with net.scope(f"stage{index}.layer{number}"):
                x = PlainConv(3).add_to(net, x, Layer(round(channels * width)))
        if index + 1 < len(STAGES):
            x = net.add(f"pool{index}", MaxPool((2, 2), (2, 2)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(classes), x)
    return net.graph()


def resnet(width: float, blocks: int = 3, classes: int = 10) -> Graph:
    """Returns three stages of so many basic blocks each: 20 layers with 3, 56 with 9."""
    net = GraphBuilder(IMAGE)
    x = net.add("stem", Conv2d(round(16 * width), (3, 3)), net.input)
    for index in range(3):
        for number in range(blocks):
            stride = 2 if index and not number else 1
            with net.scope(f"stage{index}.layer{number}"):
                layer = Layer(round(16 * width) * 2**index, stride)
                x = ResidualBasic().add_to(net, x, layer)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(classes), x)
    return net.graph()


NETWORKS: dict[str, Callable[[float], Graph]] = {"vgg16": vgg16, "resnet20": resnet}
