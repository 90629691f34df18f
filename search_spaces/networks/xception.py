"""Xception.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
https://arxiv.org/abs/1610.02357, figure 5; the unpadded first convolutions are the author's,
https://github.com/keras-team/keras/blob/master/keras/src/applications/xception.py.
Differs from the paper: the pools pad both sides alike. The paper has no width multiplier; widths
round to multiples of 8. The paper's resolution is 299.
"""

from search_spaces.blocks.parts import separable
from search_spaces.blocks.xception import XceptionBlock
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d
from search_spaces.networks.parts import classify, image_input, scaled, stack
from search_spaces.networks.registry import register_network


@register_network("xception")
def xception(
    width: float = 1.0, resolution: int = 299, num_classes: int = 1000, in_channels: int = 3
) -> Graph:
    """Returns Xception: entry flow, eight middle blocks, exit flow."""
    net = image_input(in_channels, resolution)
    first = Conv2d(scaled(32, width), (3, 3), (2, 2), padding=(0, 0))
    second = Conv2d(scaled(64, width), (3, 3), padding=(0, 0))
    x = net.add("stem2", second, net.add("stem1", first, net.input))
    entry = [
        (XceptionBlock(2, activate_input=index > 0), Layer(scaled(channels, width), 2))
        for index, channels in enumerate((128, 256, 728))
    ]
    x = stack(net, x, "entry", entry)
    x = stack(net, x, "middle", [(XceptionBlock(3), Layer(scaled(728, width)))] * 8)
    x = stack(net, x, "exit", [(XceptionBlock(2, grow="last"), Layer(scaled(1024, width), 2))])
    for name, channels in (("exit.conv1", 1536), ("exit.conv2", 2048)):
        out = scaled(channels, width)
        x = separable(net, name, x, Layer(out), out)
    return classify(net, x, num_classes)
