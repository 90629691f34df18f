"""ShuffleNet v2 unit: split the channels, transform one half, concatenate, shuffle.

Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
ECCV 2018, https://arxiv.org/abs/1807.11164, section 3 and figure 3 (c) and (d).
Differs from the paper: a change of width at stride 1, which the paper does not have, takes the
stride-2 unit with stride 1; the kernel size is a choice.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, depthwise, keeps_shape
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import ChannelShuffle, ChannelSplit, Concat


@register_block("shuffle_v2")
@dataclass(frozen=True, slots=True)
class ShuffleV2:
    """Two branches of half the output channels each; at stride 1 the left one is the identity.

    Attributes:
        kernel_size: Side of the depthwise kernels, odd.
    """

    kernel_size: int = 3

    choices: ClassVar[tuple[Choice, ...]] = (Choice("kernel_size", (3, 5, 7)),)

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        if layer.out_channels % 2:
            raise ValueError(
                f"shuffle_v2 needs an even out_channels for its two halves, got "
                f"{layer.out_channels}"
            )
        half = layer.out_channels // 2
        if keeps_shape(x, layer):
            left = net.add("left", ChannelSplit(0, half), x)
            right = net.add("right", ChannelSplit(half, 2 * half), x)
        else:
            left = self.left_branch(net, x, layer)
            right = x
        right = self.right_branch(net, right, layer)
        y = net.add("concat", Concat(), left, right)
        return net.add("shuffle", ChannelShuffle(2), y)

    def left_branch(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        with net.scope("left"):
            filtering = depthwise(layer, x, self.kernel_size, layer.stride, "none")
            y = net.add("depthwise", filtering, x)
            return net.add("pointwise", convolution(layer, layer.out_channels // 2), y)

    def right_branch(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        half = layer.out_channels // 2
        with net.scope("right"):
            y = net.add("reduce", convolution(layer, layer.inner(half), inner=True), x)
            filtering = depthwise(layer, y, self.kernel_size, layer.stride, "none", inner=True)
            y = net.add("depthwise", filtering, y)
            return net.add("pointwise", convolution(layer, half), y)
