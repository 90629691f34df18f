"""Operators with weights, and the quantizer of the maps that coded weights read.

Shape letters: C channels, H and W spatial size, O output channels; the batch is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.graphs.activations import Activation, known_activation
from search_spaces.graphs.precision import (
    BITS,
    DEPTHWISE_PRECISIONS,
    FP32,
    Precision,
    Sparsity,
    grouped_precision,
)
from search_spaces.graphs.shapes import Shape, Size, at_least, check_pads, only, window_size

Norm = Literal["none", "batch", "folded"]

NORM_ARRAYS = ("norm.weight", "norm.bias", "norm.mean", "norm.variance")
FOLDED_ARRAYS = ("gain", "bias")


@dataclass(frozen=True, slots=True)
class Conv2d:
    """Convolution, norm and activation: one fused kernel on every device.

    Attributes:
        kernel_size: Height and width.
        padding: Zeros added on each side; None keeps ``ceil(size / stride)`` for odd kernels.
        end_padding: Zeros below and right where they differ from those above and left, as
            TensorFlow's "same" has them with stride 2.
        groups: As many as ``in_channels`` make it depthwise.
        norm: Batch norm after the convolution; "folded" is its deployed form, a factor and a
            term per output channel, which coded weights keep to themselves.
        bias: An additive term per output channel; deployed graphs have it instead of the norm.
        prune_ratio: Share of the channels that structured pruning took away; ``out_channels``
            counts what is left.
    """

    out_channels: int
    kernel_size: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size | None = None
    dilation: Size = (1, 1)
    groups: int = 1
    norm: Norm = "batch"
    bias: bool = False
    activation: Activation = "relu"
    precision: Precision = FP32
    prune_ratio: float = 0.0
    end_padding: Size | None = None

    def __post_init__(self) -> None:
        at_least(1, "out_channels", self.out_channels)
        at_least(1, "kernel_size", *self.kernel_size)
        at_least(1, "stride", *self.stride)
        at_least(0, "padding", *self.pads)
        at_least(0, "end_padding", *self.end_pads)
        at_least(1, "dilation", *self.dilation)
        at_least(1, "groups", self.groups)
        known_activation(self.activation)
        if self.precision.magnitude_map and self.dilation != (1, 1):
            raise ValueError(f"precision {self.precision} needs dilation 1, got {self.dilation}")
        if self.precision.magnitude_map:
            check_pads(self.kernel_size, self.pads, self.end_pads)
        if self.norm not in get_args(Norm):
            raise ValueError(f"norm must be one of {get_args(Norm)}, got {self.norm!r}")
        if not 0 <= self.prune_ratio < 1:
            raise ValueError(f"prune_ratio must be in [0, 1), got {self.prune_ratio}")

    @property
    def pads(self) -> Size:
        """The zeros above and left, and on the other sides too but for ``end_padding``."""
        if self.padding is not None:
            return self.padding
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) // 2, dw * (kw - 1) // 2

    @property
    def end_pads(self) -> Size:
        """The zeros below and right."""
        return self.pads if self.end_padding is None else self.end_padding

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = only_with_factor("conv2d", self.precision, inputs)
        if channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"in_channels (={channels}) and out_channels (={self.out_channels}) must be "
                f"divisible by groups (={self.groups})"
            )
        if self.is_depthwise(channels) and self.precision not in DEPTHWISE_PRECISIONS:
            raise ValueError(
                f"a depthwise convolution has precision "
                f"{' or '.join(map(str, DEPTHWISE_PRECISIONS))}, got {self.precision}"
            )
        check_groups(self.precision, self.groups, channels)
        size = window_size(
            (height, width),
            self.kernel_size,
            self.stride,
            self.pads,
            self.dilation,
            end_padding=self.end_pads,
        )
        if len(inputs) == 2 and inputs[1] != (1, *size):
            raise ValueError(f"the magnitude map must be {(1, *size)}, got {inputs[1]}")
        return self.out_channels, *size

    def is_depthwise(self, in_channels: int) -> bool:
        """Whether each of several channels is filtered alone, into one channel."""
        return self.groups == in_channels == self.out_channels > 1

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        """Weight ``(O, C / groups, kh, kw)``; every other array ``(O,)``."""
        in_channels = inputs[0][0]
        weight = (self.out_channels, in_channels // self.groups, *self.kernel_size)
        return weight_shapes(self.precision, weight, self.bias, self.norm)


@dataclass(frozen=True, slots=True)
class Linear:
    """Fully connected layer on the flattened map (order C, H, W), then an activation.

    Attributes:
        sparsity: What bounds its weights, for a kernel that stores only those that are kept; None
            has a kernel of all weights, zeros or not.
    """

    out_features: int
    bias: bool = True
    activation: Activation = "none"
    precision: Precision = FP32
    prune_ratio: float = 0.0
    norm: Literal["none", "folded"] = "none"
    sparsity: Sparsity | None = None

    def __post_init__(self) -> None:
        at_least(1, "out_features", self.out_features)
        known_activation(self.activation)
        if self.precision.magnitude_map:
            raise ValueError("a linear layer has no map of windows to scale; use precision xnor")
        if self.sparsity is not None and self.precision != FP32:
            raise ValueError(
                f"a sparse linear layer has precision fp32, got {self.precision}; leave sparsity "
                "out of coded layers"
            )
        if not 0 <= self.prune_ratio < 1:
            raise ValueError(f"prune_ratio must be in [0, 1), got {self.prune_ratio}")

    def output_shape(self, *inputs: Shape) -> Shape:
        only("linear", inputs)
        return self.out_features, 1, 1

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        """Weight ``(out_features, C * H * W)``; every other array ``(out_features,)``."""
        channels, height, width = only("linear", inputs)
        weight = (self.out_features, channels * height * width)
        return weight_shapes(self.precision, weight, self.bias, self.norm)


def weight_shapes(
    precision: Precision, weight: tuple[int, ...], bias: bool, norm: Norm
) -> dict[str, tuple[int, ...]]:
    """The arrays of a node with weights: integer codes have a step for each output channel."""
    each = weight[:1]
    shapes: dict[str, tuple[int, ...]] = {"weight": weight}
    if precision.weights == "integer":
        shapes["weight.step"] = each
    if bias:
        shapes["bias"] = each
    if norm == "batch":
        shapes |= dict.fromkeys(NORM_ARRAYS, each)
    if norm == "folded":
        shapes |= dict.fromkeys(FOLDED_ARRAYS, each)
    return shapes


@dataclass(frozen=True, slots=True)
class Quantize:
    """A map on a grid of ``2 ** bits`` values, which low-bit nodes read.

    From 2 bits on: ``step * clip(round(x / step), lowest, highest)``, codes from 0 (unsigned) or
    from ``-2 ** (bits - 1)`` (signed) on, halves to the even neighbour. With 1 bit: batch norm,
    then +1 where the result is at least 0 and -1 elsewhere (XNOR-Net, section 3.3: batch norm,
    sign, convolution).

    Attributes:
        signed: Whether the map has negative values.
        norm: Only with 1 bit.
    """

    bits: int
    signed: bool = False
    norm: Norm = "none"

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise ValueError(f"bits must be one of {', '.join(map(str, BITS))}, got {self.bits}")
        if self.bits > 1 and self.norm != "none":
            raise ValueError(f"only 1-bit maps are normalised, got norm {self.norm!r}")

    @property
    def lowest(self) -> int:
        """The least code."""
        return -(1 << self.bits - 1) if self.signed or self.bits == 1 else 0

    @property
    def highest(self) -> int:
        """The largest code."""
        return 1 if self.bits == 1 else self.lowest + (1 << self.bits) - 1

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("quantize", inputs)

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        """Step ``()``, or with 1 bit the norm's arrays, each ``(C,)``."""
        if self.bits > 1:
            return {"step": ()}
        names = {"none": (), "batch": NORM_ARRAYS, "folded": FOLDED_ARRAYS}[self.norm]
        return dict.fromkeys(names, (only("quantize", inputs)[0],))


def only_with_factor(name: str, precision: Precision, inputs: tuple[Shape, ...]) -> Shape:
    """The map among ``inputs``: alone, or followed by the magnitude map of its windows."""
    if len(inputs) == 2 and precision.magnitude_map:
        return inputs[0]
    return only(name, inputs)


def check_groups(precision: Precision, groups: int, in_channels: int) -> None:
    nearest = grouped_precision(precision, in_channels // groups)
    if groups > 1 and nearest != precision:
        raise ValueError(
            f"a convolution in groups at precision {precision} reads groups of a multiple of 32 "
            f"channels, got {in_channels // groups}; it can have precision {nearest} or fp32"
        )
