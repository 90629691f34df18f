"""Depthwise-separable convolution: depthwise, then pointwise, each with norm and activation.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017, https://arxiv.org/abs/1704.04861, section 3.1 and figure 3.
Differs from the paper: the kernel size is a choice. The block has no inner width, so a prune
ratio changes nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, depthwise
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node


@register_block("depthwise_separable")
@dataclass(frozen=True, slots=True)
class DepthwiseSeparable:
    """Filter each channel by a depthwise kernel, then mix the channels by 1x1.

    Attributes:
        kernel_size: Side of the depthwise kernel, odd.
    """

    kernel_size: int = 3

    choices: ClassVar[tuple[Choice, ...]] = (Choice("kernel_size", (3, 5)),)

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        y = net.add("depthwise", depthwise(layer, x, self.kernel_size, layer.stride), x)
        return net.add("pointwise", convolution(layer, layer.out_channels), y)
