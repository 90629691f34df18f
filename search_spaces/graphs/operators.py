"""Operators: what a node of a graph computes, as data.

Each one knows its output shape, checks its inputs, and names its arrays; nothing else. Costs,
training, kernels and export each hold a table from operator to what they need. Those with weights
stand in `weighted`, norms in `norms`; here are those without, and the table of all.

Shape letters: C channels, H and W spatial size; the batch is left out.
"""

from dataclasses import dataclass

from search_spaces.graphs.activations import Activation, known_activation
from search_spaces.graphs.norms import BatchNorm, LayerNorm, LocalResponseNorm
from search_spaces.graphs.shapes import (
    Operator,
    Shape,
    Size,
    Weightless,
    at_least,
    check_pads,
    only,
    window_ends,
    window_size,
    windows_along,
)
from search_spaces.graphs.weighted import (
    FOLDED_ARRAYS,
    NORM_ARRAYS,
    Conv2d,
    Linear,
    Norm,
    Quantize,
)

__all__ = [
    "FOLDED_ARRAYS",
    "NORM_ARRAYS",
    "OPERATORS",
    "OPERATOR_NAMES",
    "Activate",
    "Add",
    "AvgPool",
    "BatchNorm",
    "ChannelShuffle",
    "ChannelSplit",
    "Concat",
    "Conv2d",
    "Dropout",
    "GlobalAvgPool",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "Magnitude",
    "MaxPool",
    "Norm",
    "Operator",
    "Quantize",
    "Scale",
    "Shape",
    "Size",
    "Weightless",
    "window_ends",
    "window_size",
    "windows_along",
]


@dataclass(frozen=True, slots=True)
class Magnitude(Weightless):
    """Mean of |x| over the channels: one channel (A in XNOR-Net, section 3.2)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return 1, *only("magnitude", inputs)[1:]


@dataclass(frozen=True, slots=True)
class Add(Weightless):
    """Element-wise sum of two maps, then an activation."""

    activation: Activation = "none"

    def __post_init__(self) -> None:
        known_activation(self.activation)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2 or inputs[0] != inputs[1]:
            raise ValueError(f"add needs two equal shapes, got {inputs}")
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Concat(Weightless):
    """Concatenation along the channels, then an activation."""

    activation: Activation = "none"

    def __post_init__(self) -> None:
        known_activation(self.activation)

    def output_shape(self, *inputs: Shape) -> Shape:
        sizes = {shape[1:] for shape in inputs}
        if len(inputs) < 2 or len(sizes) != 1:
            raise ValueError(f"concat needs two or more maps of one size, got {inputs}")
        return sum(shape[0] for shape in inputs), inputs[0][1], inputs[0][2]


@dataclass(frozen=True, slots=True)
class ChannelSplit(Weightless):
    """The channels ``start`` to ``stop`` (not included) of a map."""

    start: int
    stop: int

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = only("channel_split", inputs)
        if not 0 <= self.start < self.stop <= channels:
            raise ValueError(
                f"channel_split {self.start}:{self.stop} is outside the map's {channels} channels"
            )
        return self.stop - self.start, height, width


@dataclass(frozen=True, slots=True)
class ChannelShuffle(Weightless):
    """Channels seen as (groups, n) and transposed to (n, groups): ShuffleNet's mixing."""

    groups: int

    def __post_init__(self) -> None:
        at_least(1, "groups", self.groups)

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = only("channel_shuffle", inputs)
        if shape[0] % self.groups:
            raise ValueError(
                f"channels (={shape[0]}) must be divisible by groups (={self.groups})"
            )
        return shape


@dataclass(frozen=True, slots=True)
class Scale(Weightless):
    """A map (first input) times one gate per channel (second input, ``(C, 1, 1)``)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2 or inputs[1] != (inputs[0][0], 1, 1):
            raise ValueError(f"scale needs a map (C, H, W) and a gate (C, 1, 1), got {inputs}")
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Activate(Weightless):
    """An activation on its own, where no operator before it can take it in."""

    activation: Activation

    def __post_init__(self) -> None:
        known_activation(self.activation)

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("activate", inputs)


@dataclass(frozen=True, slots=True)
class MaxPool(Weightless):
    """Largest value of each window; padding never wins. A window may be the whole map.

    Attributes:
        padding: On each side, smaller than the window.
        ceil_mode: Also windows that begin inside the map and reach past its end.
        end_padding: Below and right, where it differs from that above and left.
    """

    kernel_size: Size
    stride: Size
    padding: Size = (0, 0)
    ceil_mode: bool = False
    end_padding: Size | None = None

    def __post_init__(self) -> None:
        check_pool(self)

    @property
    def end_pads(self) -> Size:
        return self.padding if self.end_padding is None else self.end_padding

    def output_shape(self, *inputs: Shape) -> Shape:
        return pooled("max_pool", self, inputs)


@dataclass(frozen=True, slots=True)
class AvgPool(Weightless):
    """Mean of each window, as torch and ONNX define it.

    Attributes:
        padding, ceil_mode, end_padding: As of `MaxPool`.
        count_include_pad: Whether padded zeros count (as in the published ShuffleNet code), or
            the mean is over what lies inside the map. What ceil mode reaches beyond the padding
            counts in neither case.
    """

    kernel_size: Size
    stride: Size
    padding: Size = (0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True
    end_padding: Size | None = None

    def __post_init__(self) -> None:
        check_pool(self)

    @property
    def end_pads(self) -> Size:
        return self.padding if self.end_padding is None else self.end_padding

    def counted(self, shape: Shape, output: Shape) -> tuple[Size, Size] | None:
        """Returns what counts beside the map, before and after it; None where all windows do.

        Args:
            shape: Of the map.
            output: Of the means.
        """
        ends = window_ends(
            (shape[1], shape[2]),
            (output[1], output[2]),
            self.kernel_size,
            self.stride,
            self.padding,
        )
        counts = (self.padding, self.end_pads) if self.count_include_pad else ((0, 0), (0, 0))
        starts = zip(self.padding, counts[0], strict=True)
        reached = (*starts, *zip(ends, counts[1], strict=True))
        return None if all(reach <= count for reach, count in reached) else counts

    def output_shape(self, *inputs: Shape) -> Shape:
        return pooled("avg_pool", self, inputs)


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(Weightless):
    """Mean of each channel."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("global_avg_pool", inputs)[0], 1, 1


@dataclass(frozen=True, slots=True)
class Dropout(Weightless):
    """Zeroes elements at random while training; nothing at inference."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout rate must be in [0, 1), got {self.rate}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("dropout", inputs)


def check_pool(pool: MaxPool | AvgPool) -> None:
    at_least(1, "kernel_size", *pool.kernel_size)
    at_least(1, "stride", *pool.stride)
    at_least(0, "padding", *pool.padding, *pool.end_pads)
    check_pads(pool.kernel_size, pool.padding, pool.end_pads)


def pooled(name: str, pool: MaxPool | AvgPool, inputs: tuple[Shape, ...]) -> Shape:
    channels, height, width = only(name, inputs)
    return channels, *window_size(
        (height, width),
        pool.kernel_size,
        pool.stride,
        pool.padding,
        ceil_mode=pool.ceil_mode,
        end_padding=pool.end_pads,
    )


OPERATORS: dict[str, type[Operator]] = {
    "conv2d": Conv2d,
    "linear": Linear,
    "add": Add,
    "concat": Concat,
    "channel_split": ChannelSplit,
    "channel_shuffle": ChannelShuffle,
    "scale": Scale,
    "activate": Activate,
    "max_pool": MaxPool,
    "avg_pool": AvgPool,
    "global_avg_pool": GlobalAvgPool,
    "dropout": Dropout,
    "quantize": Quantize,
    "magnitude": Magnitude,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "local_response_norm": LocalResponseNorm,
}
OPERATOR_NAMES: dict[type[Operator], str] = {kind: name for name, kind in OPERATORS.items()}
