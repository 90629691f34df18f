"""Skip: no layer at all, so that a search can choose the depth.

Source: the zero-depth choice of Cai et al., "ProxylessNAS: Direct Neural Architecture Search on
Target Task and Hardware", ICLR 2019, https://arxiv.org/abs/1812.00332, section 3.1.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import keeps_shape
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Node


@register_block("skip")
@dataclass(frozen=True, slots=True)
class Skip:
    """The identity; adds no node."""

    choices: ClassVar[tuple[Choice, ...]] = ()

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        if not keeps_shape(x, layer):
            raise ValueError(
                f"skip needs stride 1 and equal channels, got stride {layer.stride} and "
                f"{x.shape[0]} to {layer.out_channels} channels; put another block first"
            )
        return x
