"""Xception block: separable convolutions with an activation before each, and a residual.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
https://arxiv.org/abs/1610.02357, figure 5 and section 4.7 (no activation between depthwise and
pointwise).
Differs from the paper: the number of separable convolutions and the kernel size are choices; a
change of width at stride 1, which the paper does not have, takes the 1x1 shortcut without stride.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import separable, shortcut
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Activate, Add, MaxPool


@register_block("xception")
@dataclass(frozen=True, slots=True)
class XceptionBlock:
    """Activation and separable convolution, ``num_convs`` times; then max pool; then the sum.

    Attributes:
        num_convs: Separable convolutions, at least one.
        kernel_size: Side of their depthwise kernels, odd.
        grow: Which of them changes the width: the "first" (entry flow) or the "last" (exit flow).
        activate_input: Whether an activation comes first; the paper's very first block has none.
    """

    num_convs: int = 3
    kernel_size: int = 3
    grow: str = "first"
    activate_input: bool = True

    choices: ClassVar[tuple[Choice, ...]] = (
        Choice("num_convs", (2, 3)),
        Choice("kernel_size", (3, 5)),
    )

    def __post_init__(self) -> None:
        if self.num_convs < 1:
            raise ValueError(f"num_convs must be at least 1, got {self.num_convs}")
        if self.grow not in ("first", "last"):
            raise ValueError(f"grow must be 'first' or 'last', got {self.grow!r}")

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        y = net.add("activate", Activate(layer.activation), x) if self.activate_input else x
        inner = layer.inner(layer.out_channels if self.grow == "first" else x.shape[0])
        for index in range(1, self.num_convs):
            y = separable(net, f"conv{index}", y, layer, inner, self.kernel_size, inner=True)
        last = f"conv{self.num_convs}"
        y = separable(net, last, y, layer, layer.out_channels, self.kernel_size, "none")
        if layer.stride > 1:
            y = net.add("pool", MaxPool((3, 3), (layer.stride, layer.stride), (1, 1)), y)
        return net.add("sum", Add(), shortcut(net, x, layer), y)
