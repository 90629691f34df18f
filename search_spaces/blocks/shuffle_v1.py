"""ShuffleNet v1 unit: grouped pointwise, shuffle, depthwise, grouped pointwise.

Source: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices", CVPR 2018, https://arxiv.org/abs/1707.01083, section 3.2 and figure 2; the activation of
the concatenating unit stands on the new maps alone, as in the authors' code,
https://github.com/megvii-model/ShuffleNet-Series (the same for inputs that are not negative).
Differs from the paper: a change of width at stride 1 takes the concatenating unit without the
pool; where the output is not wider than the input, so that nothing is left to concatenate, the
shortcut is the average pool and a grouped 1x1 convolution, and is added. The kernel size is a
choice.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, depthwise, grouped, keeps_shape
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Add, AvgPool, ChannelShuffle, Concat


@register_block("shuffle_v1")
@dataclass(frozen=True, slots=True)
class ShuffleV1:
    """A bottleneck of a quarter of the output channels; sum at stride 1, concat at stride 2.

    Attributes:
        groups: Groups of both pointwise convolutions; must divide the input and the new channels.
        kernel_size: Side of the depthwise kernel, odd.
        group_first: Whether the first pointwise convolution is grouped; the paper leaves that out
            after the stem, whose channels are few.
    """

    groups: int = 2
    kernel_size: int = 3
    group_first: bool = True

    choices: ClassVar[tuple[Choice, ...]] = (
        Choice("groups", (1, 2, 4)),
        Choice("kernel_size", (3, 5)),
    )

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        in_channels, out_channels = x.shape[0], layer.out_channels
        y = self.bottleneck(net, x, layer)
        if not keeps_shape(x, layer) and out_channels > in_channels:
            at = grouped(layer, y, self.groups)
            grow = convolution(at, out_channels - in_channels, groups=self.groups)
            return net.add("concat", Concat(), pooled(net, x, layer), net.add("expand", grow, y))
        y, short = self.expand(net, "expand", y, layer), x
        if not keeps_shape(x, layer):
            short = self.expand(net, "shortcut", pooled(net, x, layer), layer)
        return net.add("sum", Add(layer.activation), short, y)

    def expand(self, net: GraphBuilder, name: str, x: Node, layer: Layer) -> Node:
        at = grouped(layer, x, self.groups)
        conv = convolution(at, layer.out_channels, groups=self.groups, activation="none")
        return net.add(name, conv, x)

    def bottleneck(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        groups = self.groups if self.group_first else 1
        channels = layer.inner(layer.out_channels / 4, multiple_of=self.groups)
        at = grouped(layer, x, groups)
        y = net.add("reduce", convolution(at, channels, groups=groups, inner=True), x)
        if self.groups > 1:
            y = net.add("shuffle", ChannelShuffle(self.groups), y)
        filtering = depthwise(layer, y, self.kernel_size, layer.stride, "none", inner=True)
        return net.add("depthwise", filtering, y)


def pooled(net: GraphBuilder, x: Node, layer: Layer) -> Node:
    """``x`` at the size of the output."""
    if layer.stride == 1:
        return x
    return net.add("pool", AvgPool((3, 3), (layer.stride, layer.stride), (1, 1)), x)
