"""MobileNet v1 and v2.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017, https://arxiv.org/abs/1704.04861, table 1; Sandler et al., "MobileNetV2:
Inverted Residuals and Linear Bottlenecks", CVPR 2018, https://arxiv.org/abs/1801.04381, table 2.
Widths round as in the authors' code, https://github.com/tensorflow/models/tree/master/research/slim.
Differs from the paper: strided convolutions pad both sides alike (TensorFlow's "same" pads below
and to the right); the last 1024-wide layer of version 1, printed with stride 2, has stride 1 as in
the authors' code.
"""

from search_spaces.blocks.depthwise_separable import DepthwiseSeparable
from search_spaces.blocks.inverted_residual import InvertedResidual
from search_spaces.building.layer import Layer
from search_spaces.building.rounding import make_divisible
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d
from search_spaces.networks.parts import classify, image_input, stack, stem
from search_spaces.networks.registry import register_network

# (output channels, stride of the first layer, layers)
V1_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))
# (expand ratio, output channels, layers, stride of the first layer)
V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@register_network("mobilenet_v1")
def mobilenet_v1(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns MobileNet v1: thirteen depthwise-separable convolutions."""
    net = image_input(in_channels, resolution)
    x = stem(net, max(8, int(32 * width)))
    for index, (channels, stride, depth) in enumerate(V1_STAGES):
        out = max(8, int(channels * width))
        layers = [
            (DepthwiseSeparable(), Layer(out, stride if i == 0 else 1)) for i in range(depth)
        ]
        x = stack(net, x, f"stage{index}", layers)
    return classify(net, x, num_classes)


@register_network("mobilenet_v2")
def mobilenet_v2(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns MobileNet v2: seventeen inverted residuals with ReLU6."""
    net = image_input(in_channels, resolution)
    x = stem(net, make_divisible(32 * width, 8), activation="relu6")
    for index, (expand_ratio, channels, depth, stride) in enumerate(V2_STAGES):
        out = make_divisible(channels * width, 8)
        layers = [
            (InvertedResidual(expand_ratio), Layer(out, stride if i == 0 else 1, "relu6"))
            for i in range(depth)
        ]
        x = stack(net, x, f"stage{index}", layers)
    last = Conv2d(make_divisible(1280 * max(1.0, width), 8), activation="relu6")
    return classify(net, net.add("last", last, x), num_classes, dropout=0.2)
