"""Inverted residual with linear bottleneck: expand, depthwise, project without activation.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
https://arxiv.org/abs/1801.04381, section 3.3 and table 1; squeeze-and-excitation after the
depthwise convolution as in Tan et al., "MnasNet", CVPR 2019, https://arxiv.org/abs/1807.11626.
Differs from the paper: the kernel size and squeeze-and-excitation are choices; the activation is
the network's (the paper's is ReLU6).
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, depthwise, keeps_shape, squeeze_excite
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Add


@register_block("inverted_residual")
@dataclass(frozen=True, slots=True)
class InvertedResidual:
    """Expand by 1x1, filter by depthwise, project by 1x1; add the input where shapes agree.

    Attributes:
        expand_ratio: Hidden channels over input channels (``t`` in the paper); 1 leaves the
            expansion out.
        kernel_size: Side of the depthwise kernel, odd.
        se_ratio: Hidden channels of the squeeze-and-excitation over the block's input channels;
            0 leaves it out.
    """

    expand_ratio: int = 6
    kernel_size: int = 3
    se_ratio: float = 0.0

    choices: ClassVar[tuple[Choice, ...]] = (
        Choice("expand_ratio", (3, 6)),
        Choice("kernel_size", (3, 5)),
        Choice("se_ratio", (0.0, 0.25)),
    )

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        in_channels, y = x.shape[0], x
        expands = self.expand_ratio != 1
        if expands:
            hidden = layer.inner(in_channels * self.expand_ratio)
            y = net.add("expand", convolution(layer, hidden, inner=True), y)
        filtering = depthwise(layer, y, self.kernel_size, layer.stride, inner=expands)
        y = net.add("depthwise", filtering, y)
        if self.se_ratio:
            y = squeeze_excite(net, y, max(1, round(in_channels * self.se_ratio)))
        y = net.add("project", convolution(layer, layer.out_channels, activation="none"), y)
        if keeps_shape(x, layer):
            return net.add("sum", Add(), x, y)
        return y
