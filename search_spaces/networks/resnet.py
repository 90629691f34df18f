"""ResNet-18 and ResNet-34.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385, table 1.
Differs from the paper: shortcuts that change shape are 1x1 convolutions (option B), as in
torchvision. The paper has no width multiplier; widths round to multiples of 8.
"""

from search_spaces.blocks.residual import ResidualBasic
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import MaxPool
from search_spaces.networks.parts import classify, image_input, scaled, stack, stem
from search_spaces.networks.registry import register_network


@register_network("resnet18")
def resnet18(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns ResNet-18: two basic blocks in each of four stages."""
    return resnet((2, 2, 2, 2), width, resolution, num_classes, in_channels)


@register_network("resnet34")
def resnet34(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns ResNet-34: 3, 4, 6 and 3 basic blocks."""
    return resnet((3, 4, 6, 3), width, resolution, num_classes, in_channels)


def resnet(
    depths: tuple[int, ...], width: float, resolution: int, num_classes: int, in_channels: int
) -> Graph:
    net = image_input(in_channels, resolution)
    x = stem(net, scaled(64, width), kernel_size=7)
    x = net.add("max_pool", MaxPool((3, 3), (2, 2), (1, 1)), x)
    for index, depth in enumerate(depths):
        out = scaled(64 * 2**index, width)
        layers = [
            (ResidualBasic(), Layer(out, 2 if index > 0 and i == 0 else 1)) for i in range(depth)
        ]
        x = stack(net, x, f"stage{index}", layers)
    return classify(net, x, num_classes)
