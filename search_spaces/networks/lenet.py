"""LeNet-300-100 and LeNet-5, the networks that pruning papers compress.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
IEEE 1998, in the form of Han et al., "Deep Compression", ICLR 2016,
https://arxiv.org/abs/1510.00149, tables 2 and 3; LeNet-5 is Caffe's,
https://github.com/BVLC/caffe/blob/master/examples/mnist/lenet.prototxt.
Differs from the paper: rectifiers instead of sigmoids. The paper has no width multiplier; widths
round to whole channels.
"""

from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Linear, MaxPool
from search_spaces.networks.parts import image_input
from search_spaces.networks.registry import register_network


@register_network("lenet_300_100")
def lenet_300_100(
    width: float = 1.0, resolution: int = 28, num_classes: int = 10, in_channels: int = 1
) -> Graph:
    """Returns LeNet-300-100: three linear layers."""
    net = image_input(in_channels, resolution)
    x = net.add("linear1", Linear(rounded(300 * width), activation="relu"), net.input)
    x = net.add("linear2", Linear(rounded(100 * width), activation="relu"), x)
    net.add("classifier", Linear(num_classes), x)
    return net.graph()


@register_network("lenet5")
def lenet5(
    width: float = 1.0, resolution: int = 28, num_classes: int = 10, in_channels: int = 1
) -> Graph:
    """Returns LeNet-5: two convolutions with max pools, without activations, two linear layers."""
    net = image_input(in_channels, resolution)
    x = net.input
    for index, channels in enumerate((20, 50), 1):
        conv = Conv2d(
            rounded(channels * width),
            (5, 5),
            padding=(0, 0),
            norm="none",
            bias=True,
            activation="none",
        )
        x = net.add(f"conv{index}", conv, x)
        x = net.add(f"pool{index}", MaxPool((2, 2), (2, 2)), x)
    x = net.add("linear1", Linear(rounded(500 * width), activation="relu"), x)
    net.add("classifier", Linear(num_classes), x)
    return net.graph()


def rounded(channels: float) -> int:
    return max(1, round(channels))
