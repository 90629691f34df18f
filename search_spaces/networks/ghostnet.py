"""GhostNet.

Source: Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020,
https://arxiv.org/abs/1911.11907, table 7; kernel sizes and rounding as in the authors' code,
https://github.com/huawei-noah/Efficient-AI-Backbones/tree/master/ghostnet_pytorch.
"""

from search_spaces.blocks.ghost import GhostBottleneck
from search_spaces.building.layer import Layer
from search_spaces.building.rounding import make_divisible
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Dropout, GlobalAvgPool, Linear
from search_spaces.networks.parts import image_input, stack, stem
from search_spaces.networks.registry import register_network

# Stages of (kernel size, hidden channels, output channels, squeeze-and-excitation, stride).
STAGES = (
    ((3, 16, 16, 0.0, 1),),
    ((3, 48, 24, 0.0, 2), (3, 72, 24, 0.0, 1)),
    ((5, 72, 40, 0.25, 2), (5, 120, 40, 0.25, 1)),
    (
        (3, 240, 80, 0.0, 2),
        (3, 200, 80, 0.0, 1),
        (3, 184, 80, 0.0, 1),
        (3, 184, 80, 0.0, 1),
        (3, 480, 112, 0.25, 1),
        (3, 672, 112, 0.25, 1),
    ),
    (
        (5, 672, 160, 0.25, 2),
        (5, 960, 160, 0.0, 1),
        (5, 960, 160, 0.25, 1),
        (5, 960, 160, 0.0, 1),
        (5, 960, 160, 0.25, 1),
    ),
)


@register_network("ghostnet")
def ghostnet(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns GhostNet: sixteen Ghost bottlenecks."""
    net = image_input(in_channels, resolution)
    x = stem(net, make_divisible(16 * width, 4))
    for index, stage in enumerate(STAGES):
        for at, (kernel_size, expanded, channels, se_ratio, stride) in enumerate(stage):
            hidden = make_divisible(expanded * width, 4)
            block = GhostBottleneck(hidden / x.shape[0], kernel_size, se_ratio=se_ratio)
            layer = Layer(make_divisible(channels * width, 4), stride)
            x = stack(net, x, f"stage{index}", [(block, layer)], first=at)
    x = net.add("last", Conv2d(make_divisible(960 * width, 4)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    x = net.add("head", Conv2d(1280, norm="none", bias=True), x)
    x = net.add("dropout", Dropout(0.2), x)
    net.add("classifier", Linear(num_classes), x)
    return net.graph()
