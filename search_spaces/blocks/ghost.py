"""Ghost bottleneck: half of each pointwise convolution is replaced by cheap depthwise maps.

Source: Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020,
https://arxiv.org/abs/1911.11907, sections 3.1 and 3.2; kernel sizes, shortcut and width of the
squeeze-and-excitation as in the authors' code,
https://github.com/huawei-noah/Efficient-AI-Backbones/tree/master/ghostnet_pytorch.
Differs from the paper: the split is always 1:1 (``s = 2``, the paper's own setting).
"""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.blocks.parts import convolution, depthwise, keeps_shape, squeeze_excite
from search_spaces.blocks.registry import register_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.building.rounding import make_divisible
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Add, Concat


@register_block("ghost")
@dataclass(frozen=True, slots=True)
class GhostBottleneck:
    """Expand with a ghost module, downsample if asked, project with a ghost module.

    Attributes:
        expand_ratio: Hidden channels over input channels.
        kernel_size: Side of the depthwise kernels that downsample and that stand in the shortcut;
            without effect where the block keeps its shape.
        cheap_kernel_size: Side of the kernels that make the cheap maps (``d`` in the paper).
        se_ratio: Hidden channels of the squeeze-and-excitation over the block's hidden channels,
            rounded to a multiple of 4; 0 leaves it out.
    """

    expand_ratio: float = 2
    kernel_size: int = 3
    cheap_kernel_size: int = 3
    se_ratio: float = 0.0

    choices: ClassVar[tuple[Choice, ...]] = (
        Choice("expand_ratio", (2, 3, 6)),
        Choice("kernel_size", (3, 5)),
        Choice("cheap_kernel_size", (3, 5)),
        Choice("se_ratio", (0.0, 0.25)),
    )

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        hidden = layer.inner(x.shape[0] * self.expand_ratio, multiple_of=2)
        y = self.ghost_module(net, "expand", x, layer, hidden, layer.activation, inner=True)
        if layer.stride > 1:
            down = depthwise(layer, y, self.kernel_size, layer.stride, "none", inner=True)
            y = net.add("downsample", down, y)
        if self.se_ratio:
            y = squeeze_excite(net, y, make_divisible(hidden * self.se_ratio, 4))
        y = self.ghost_module(net, "project", y, layer, layer.out_channels, "none")
        return net.add("sum", Add(), self.shortcut(net, x, layer), y)

    def ghost_module(
        self,
        net: GraphBuilder,
        name: str,
        x: Node,
        layer: Layer,
        out_channels: int,
        activation: Activation,
        inner: bool = False,
    ) -> Node:
        """``out_channels / 2`` primary maps and one cheap map of each.

        Raises:
            ValueError: If ``out_channels`` is odd.
        """
        if out_channels % 2:
            raise ValueError(f"a ghost module needs an even out_channels, got {out_channels}")
        with net.scope(name):
            pointwise = convolution(layer, out_channels // 2, activation=activation, inner=inner)
            primary = net.add("primary", pointwise, x)
            filtering = depthwise(
                layer, primary, self.cheap_kernel_size, activation=activation, inner=inner
            )
            return net.add("concat", Concat(), primary, net.add("cheap", filtering, primary))

    def shortcut(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        if keeps_shape(x, layer):
            return x
        with net.scope("shortcut"):
            filtering = depthwise(layer, x, self.kernel_size, layer.stride, "none")
            y = net.add("depthwise", filtering, x)
            pointwise = convolution(layer, layer.out_channels, activation="none")
            return net.add("pointwise", pointwise, y)
