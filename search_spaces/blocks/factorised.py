"""Factorised convolution: a large kernel as two small ones, 1xN and Nx1, or 3x3 twice for 5x5.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
https://arxiv.org/abs/1512.00567, sections 3.1 and 3.2.
Differs from the paper: the pair is a block of its own, not a branch of an Inception module.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Size

FORMS: dict[str, tuple[Size, Size]] = {
    "1x3_3x1": ((1, 3), (3, 1)),
    "1x5_5x1": ((1, 5), (5, 1)),
    "1x7_7x1": ((1, 7), (7, 1)),
    "3x3_3x3": ((3, 3), (3, 3)),
}


@register_block("factorised")
@dataclass(frozen=True, slots=True)
class FactorisedConv:
    """Two convolutions with norm and activation that together see one large window.

    Attributes:
        form: The two kernels, height x width each. The stride stands where it leaves the window
            whole: on the width of 1xN and the height of Nx1, or on the second 3x3.
    """

    form: str = "1x3_3x1"

    choices: ClassVar[tuple[Choice, ...]] = (Choice("form", tuple(FORMS)),)

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        first, second = FORMS[self.form]
        s = layer.stride
        strides = ((1, 1), (s, s)) if first == second else ((1, s), (s, 1))
        channels = layer.inner(layer.out_channels)
        y = net.add("conv1", convolution(layer, channels, first, strides[0], inner=True), x)
        return net.add("conv2", convolution(layer, layer.out_channels, second, strides[1]), y)
