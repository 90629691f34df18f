"""Parts that several blocks share: convolutions, shortcut, squeeze-and-excitation."""

from dataclasses import replace

from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Norm, Scale, Size
from search_spaces.graphs.precision import depthwise_precision, grouped_precision


def convolution(
    layer: Layer,
    out_channels: int,
    kernel_size: int | Size = 1,
    stride: int | Size = 1,
    groups: int = 1,
    activation: Activation | None = None,
    norm: Norm = "batch",
    inner: bool = False,
) -> Conv2d:
    """A convolution that keeps ``ceil(size / stride)``, at the layer's precision.

    Args:
        activation: None takes the layer's.
        norm: Without a norm the convolution has a bias.
        inner: Whether ``out_channels`` is an inner width of the block, which the layer's prune
            ratio made smaller; only then does the node carry that ratio, so that a ratio without
            effect leaves the graph unchanged.
    """
    return Conv2d(
        out_channels,
        (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size,
        (stride, stride) if isinstance(stride, int) else stride,
        groups=groups,
        norm=norm,
        bias=norm == "none",
        activation=layer.activation if activation is None else activation,
        precision=layer.precision,
        prune_ratio=layer.prune_ratio if inner else 0.0,
    )


def depthwise(
    layer: Layer,
    x: Node,
    kernel_size: int = 3,
    stride: int = 1,
    activation: Activation | None = None,
    inner: bool = False,
) -> Conv2d:
    """The depthwise convolution that fits ``x``; 8 bits where the layer's maps are coded."""
    channels = x.shape[0]
    layer = replace(layer, precision=depthwise_precision(layer.precision))
    return convolution(layer, channels, kernel_size, stride, channels, activation, inner=inner)


def grouped(layer: Layer, x: Node, groups: int) -> Layer:
    """The layer at the precision that a convolution of so many groups has on ``x``."""
    if groups == 1:
        return layer
    precision = grouped_precision(layer.precision, x.shape[0] // groups)
    return replace(layer, precision=precision)


def separable(
    net: GraphBuilder,
    name: str,
    x: Node,
    layer: Layer,
    out_channels: int,
    kernel_size: int = 3,
    activation: Activation | None = None,
    inner: bool = False,
) -> Node:
    """A depthwise convolution without norm or activation, then a pointwise one with both.

    Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
    https://arxiv.org/abs/1610.02357, sections 2 and 4.7.
    """
    with net.scope(name):
        filtering = depthwise(layer, x, kernel_size, activation="none")
        y = net.add("depthwise", replace(filtering, norm="none"), x)
        pointwise = convolution(layer, out_channels, activation=activation, inner=inner)
        return net.add("pointwise", pointwise, y)


def shortcut(net: GraphBuilder, x: Node, layer: Layer) -> Node:
    """``x`` itself where the layer keeps its shape, else a strided 1x1 convolution of it.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
    https://arxiv.org/abs/1512.03385, section 3.3, option B.
    """
    if keeps_shape(x, layer):
        return x
    project = convolution(layer, layer.out_channels, stride=layer.stride, activation="none")
    return net.add("shortcut", project, x)


def keeps_shape(x: Node, layer: Layer) -> bool:
    """Whether the layer gives maps of the shape of ``x``."""
    return layer.stride == 1 and x.shape[0] == layer.out_channels


def squeeze_excite(net: GraphBuilder, x: Node, reduced: int) -> Node:
    """Gates every channel of ``x`` by a two-layer network of ``reduced`` hidden channels.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018,
    https://arxiv.org/abs/1709.01507, section 3.
    Differs from the paper: the gate is a hard sigmoid, as in MobileNet v3 and GhostNet. It
    stays in float32 at every precision: it works on one pixel and costs next to nothing.
    """
    with net.scope("se"):
        y = net.add("squeeze", GlobalAvgPool(), x)
        y = net.add("reduce", Conv2d(reduced, norm="none", bias=True, activation="relu"), y)
        gate = Conv2d(x.shape[0], norm="none", bias=True, activation="hardsigmoid")
        return net.add("scale", Scale(), x, net.add("gate", gate, y))
