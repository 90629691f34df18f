"""Fire: squeeze by 1x1, then expand by 1x1 and 3x3 side by side.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB
model size", 2016, https://arxiv.org/abs/1602.07360, sections 3.2, 5 and 6.
Differs from the paper: batch norm follows each convolution unless ``norm`` is "none" (the paper
has none); stride 2 is a padded 3x3 max pool in front (the paper pools between the modules,
without padding).
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, keeps_shape
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Add, Concat, MaxPool, Norm


@register_block("fire")
@dataclass(frozen=True, slots=True)
class Fire:
    """A few squeezed maps feed two expansions, whose outputs are concatenated.

    Attributes:
        squeeze_ratio: Squeezed channels over output channels (``SR`` in the paper).
        share_3x3: Share of the output channels that the 3x3 expansion gives (``pct_3x3``).
        bypass: "simple" adds the input where shapes agree; "none" never does.
        norm: Norm after each convolution.
    """

    squeeze_ratio: float = 0.125
    share_3x3: float = 0.5
    bypass: str = "none"
    norm: Norm = "batch"

    choices: ClassVar[tuple[Choice, ...]] = (
        Choice("squeeze_ratio", (0.125, 0.25, 0.5)),
        Choice("share_3x3", (0.25, 0.5, 0.75)),
        Choice("bypass", ("none", "simple")),
    )

    def __post_init__(self) -> None:
        if not 0 < self.share_3x3 < 1:
            raise ValueError(f"share_3x3 must be between 0 and 1, got {self.share_3x3}")
        if self.bypass not in ("none", "simple"):
            raise ValueError(f"bypass must be 'none' or 'simple', got {self.bypass!r}")

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        if layer.out_channels < 2:
            raise ValueError("fire needs at least 2 out_channels, one for each expansion, got 1")
        wide = min(max(1, round(layer.out_channels * self.share_3x3)), layer.out_channels - 1)
        squeezed = layer.inner(layer.out_channels * self.squeeze_ratio)
        y = x
        if layer.stride > 1:
            y = net.add("pool", MaxPool((3, 3), (layer.stride, layer.stride), (1, 1)), y)
        squeeze = convolution(layer, squeezed, norm=self.norm, inner=True)
        y = net.add("squeeze", squeeze, y)
        narrow = convolution(layer, layer.out_channels - wide, norm=self.norm)
        left = net.add("expand_1x1", narrow, y)
        right = net.add("expand_3x3", convolution(layer, wide, 3, norm=self.norm), y)
        y = net.add("concat", Concat(), left, right)
        if self.bypass == "simple" and keeps_shape(x, layer):
            return net.add("sum", Add(), x, y)
        return y
