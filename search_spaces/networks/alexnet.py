"""AlexNet, in its one-tower form.

Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014,
https://arxiv.org/abs/1404.5997, as in torchvision, after Krizhevsky et al., "ImageNet
Classification with Deep Convolutional Neural Networks", NIPS 2012.
Differs from the paper: no local response normalisation, no grouped convolutions. At another
resolution than 224 the classifier reads the map as it is (torchvision resizes it to 6x6). The
paper has no width multiplier; widths round to multiples of 8.
"""

from search_spaces.blocks.plain import PlainConv
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Dropout, Linear, MaxPool
from search_spaces.networks.parts import image_input, scaled, stack
from search_spaces.networks.registry import register_network

POOL = MaxPool((3, 3), (2, 2))


@register_network("alexnet")
def alexnet(
    width: float = 1.0, resolution: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns AlexNet: five convolutions and three linear layers."""
    net = image_input(in_channels, resolution)
    first = Conv2d(scaled(64, width), (11, 11), (4, 4), padding=(2, 2), norm="none", bias=True)
    x = net.add("pool1", POOL, net.add("stem", first, net.input))
    five = PlainConv(5, norm="none")
    x = stack(net, x, "stage1", [(five, Layer(scaled(192, width)))])
    x = net.add("pool2", POOL, x)
    three = PlainConv(3, norm="none")
    last = [(three, Layer(scaled(channels, width))) for channels in (384, 256, 256)]
    x = net.add("pool3", POOL, stack(net, x, "stage2", last))
    for index in (1, 2):
        x = net.add(f"dropout{index}", Dropout(0.5), x)
        x = net.add(f"linear{index}", Linear(scaled(4096, width), activation="relu"), x)
    net.add("classifier", Linear(num_classes), x)
    return net.graph()
