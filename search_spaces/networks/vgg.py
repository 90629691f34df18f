"""VGG-16.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556, table 1, column D.
Differs from the paper: at another resolution than 224 the classifier reads the map as it is. The
paper has no width multiplier; widths round to multiples of 8.
"""

from search_spaces.blocks.plain import PlainConv
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Dropout, Linear, MaxPool
from search_spaces.networks.parts import image_input, scaled, stack
from search_spaces.networks.registry import register_network

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions)


@register_network("vgg16")
def vgg16(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns VGG-16: thirteen 3x3 convolutions and three linear layers."""
    net = image_input(in_channels, resolution)
    x = net.input
    for index, (channels, depth) in enumerate(STAGES):
        layer = Layer(scaled(channels, width))
        x = stack(net, x, f"stage{index}", [(PlainConv(3, norm="none"), layer)] * depth)
        x = net.add(f"pool{index}", MaxPool((2, 2), (2, 2)), x)
    for index in (1, 2):
        x = net.add(f"linear{index}", Linear(scaled(4096, width), activation="relu"), x)
        x = net.add(f"dropout{index}", Dropout(0.5), x)
    net.add("classifier", Linear(num_classes), x)
    return net.graph()
