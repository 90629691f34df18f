"""Plain convolution: one kernel, norm and activation.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556, section 2.1.
Differs from the paper: batch norm follows unless ``norm`` is "none" (the paper has none); the
kernel size is a choice; the convolution has the stride (the paper max-pools). The block has no
inner width, so a prune ratio changes nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Norm


@register_block("plain")
@dataclass(frozen=True, slots=True)
class PlainConv:
    """One convolution.

    Attributes:
        kernel_size: Side of the kernel, odd.
        norm: Norm after the convolution.
    """

    kernel_size: int = 3
    norm: Norm = "batch"

    choices: ClassVar[tuple[Choice, ...]] = (Choice("kernel_size", (1, 3, 5)),)

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        conv = convolution(
            layer, layer.out_channels, self.kernel_size, layer.stride, norm=self.norm
        )
        return net.add("conv", conv, x)
