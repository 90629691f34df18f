"""Parts that several blocks share: pointwise, depthwise, squeeze-and-excitation."""

from search_spaces.graph import GraphBuilder, Node
from search_spaces.layer import Layer
from search_spaces.operators import Activation, Conv2d, GlobalAvgPool, Scale, Size


def convolution(
    layer: Layer,
    out_channels: int,
    kernel_size: int | Size = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = None,
) -> Conv2d:
    """A convolution with batch norm that keeps ``ceil(size / stride)``, at the layer's precision.

    ``activation=None`` takes the layer's.
    """
    return Conv2d(
        out_channels,
        (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size,
        (stride, stride),
        groups=groups,
        activation=layer.activation if activation is None else activation,
        precision=layer.precision,
        prune_ratio=layer.prune_ratio,
    )


def depthwise(
    layer: Layer,
    x: Node,
    kernel_size: int = 3,
    stride: int = 1,
    activation: Activation | None = None,
) -> Conv2d:
    """The depthwise convolution that fits ``x``."""
    return convolution(layer, x.shape[0], kernel_size, stride, x.shape[0], activation)


def squeeze_excite(net: GraphBuilder, x: Node, layer: Layer, reduced: int) -> Node:
    """Gates every channel of ``x`` by a two-layer network of ``reduced`` hidden channels.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018,
    https://arxiv.org/abs/1709.01507, section 3.
    Differs from the paper: the gate is a hard sigmoid, as in MobileNet v3 and GhostNet.
    """
    with net.scope("se"):
        y = net.add("squeeze", GlobalAvgPool(), x)
        y = net.add("reduce", Conv2d(reduced, norm="none", bias=True, activation="relu"), y)
        gate = Conv2d(x.shape[0], norm="none", bias=True, activation="hardsigmoid")
        return net.add("scale", Scale(), x, net.add("gate", gate, y))
