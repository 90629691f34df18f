"""Residual blocks of ResNet: the basic one (ResNet-18 / 34) and the bottleneck (ResNet-50 on).

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385, section 3.3 and figure 5; groups as in Xie et al., "Aggregated
Residual Transformations for Deep Neural Networks", CVPR 2017, https://arxiv.org/abs/1611.05431.
Differs from the paper: the kernel size is a choice; the bottleneck's stride stands on its middle
convolution (as in torchvision; the paper has it on the first); the shortcut where shapes differ is
always the 1x1 convolution (option B).
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, grouped, shortcut
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Add


@register_block("residual_basic")
@dataclass(frozen=True, slots=True)
class ResidualBasic:
    """Two convolutions, the sum with the input, then the activation.

    Attributes:
        kernel_size: Side of both kernels, odd.
    """

    kernel_size: int = 3

    choices: ClassVar[tuple[Choice, ...]] = (Choice("kernel_size", (3, 5)),)

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        channels = layer.inner(layer.out_channels)
        first = convolution(layer, channels, self.kernel_size, layer.stride, inner=True)
        y = net.add("conv1", first, x)
        second = convolution(layer, layer.out_channels, self.kernel_size, activation="none")
        y = net.add("conv2", second, y)
        return net.add("sum", Add(layer.activation), shortcut(net, x, layer), y)


@register_block("residual_bottleneck")
@dataclass(frozen=True, slots=True)
class ResidualBottleneck:
    """1x1 to fewer channels, kxk, 1x1 back, the sum with the input, then the activation.

    Attributes:
        bottleneck_ratio: Inner channels over output channels.
        kernel_size: Side of the middle kernel, odd.
        groups: Groups of the middle convolution; inner channels round to a multiple of it.
    """

    bottleneck_ratio: float = 0.25
    kernel_size: int = 3
    groups: int = 1

    choices: ClassVar[tuple[Choice, ...]] = (
        Choice("bottleneck_ratio", (0.25, 0.5)),
        Choice("kernel_size", (3, 5)),
        Choice("groups", (1, 4)),
    )

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        inner = layer.inner(layer.out_channels * self.bottleneck_ratio, multiple_of=self.groups)
        y = net.add("reduce", convolution(layer, inner, inner=True), x)
        at = grouped(layer, y, self.groups)
        middle = convolution(at, inner, self.kernel_size, layer.stride, self.groups, inner=True)
        y = net.add("conv", middle, y)
        y = net.add("expand", convolution(layer, layer.out_channels, activation="none"), y)
        return net.add("sum", Add(layer.activation), shortcut(net, x, layer), y)
