"""Oracle: every operator in plain numpy, one window at a time, in float64; slow and obvious.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Callable, Iterator, Mapping
from math import erfc, exp, pi, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.activations import Activation
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.model import NORM_EPSILON, Model
from search_spaces.graphs.operators import (
    Activate,
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Magnitude,
    MaxPool,
    Norm,
    Operator,
    Quantize,
    Scale,
    Size,
)
from search_spaces.quantization.codes import weight_limits

Map = NDArray[np.float64]
Arrays = Mapping[str, Map]
Number = TypeVar("Number", np.int64, np.float64)


def run(model: Model, x: NDArray[np.floating]) -> dict[str, Map]:
    """Returns every map ``(B, C, H, W)`` by node name, for inputs ``(B, C, H, W)``."""
    maps: dict[str, Map] = {INPUT: x.astype(np.float64)}
    for node in model.graph.nodes:
        inputs = [maps[name] for name in node.inputs]
        names = node.operator.array_shapes(*model.graph.input_shapes(node))
        arrays = {name: model.arrays[f"{node.name}.{name}"].astype(np.float64) for name in names}
        maps[node.name] = OPERATIONS[type(node.operator)](node.operator, arrays, *inputs)
        assert maps[node.name].shape == (len(x), *node.shape)
    return maps


def conv2d(op: Conv2d, arrays: Arrays, x: Map, magnitude: Map | None = None) -> Map:
    weight = coded_weight(op, arrays)
    outside = -1 if op.precision.activations == "sign" else 0
    per_group = op.out_channels // op.groups
    in_group = x.shape[1] // op.groups
    shape = op.output_shape(x.shape[1:])
    y = np.zeros((len(x), *shape))
    for row, column, window in windows(
        x, shape[1:], op.kernel_size, op.stride, op.pads, outside, op.dilation
    ):
        for group in range(op.groups):
            read = window[:, group * in_group : (group + 1) * in_group]
            written = slice(group * per_group, (group + 1) * per_group)
            y[:, written, row, column] = np.einsum("bchw,ochw->bo", read, weight[written])
    if magnitude is not None:
        y *= magnitude
    if op.bias:
        y += arrays["bias"][:, None, None]
    return activated(op.activation, normed(op.norm, arrays, y))


def linear(op: Linear, arrays: Arrays, x: Map) -> Map:
    y = x.reshape(len(x), -1) @ coded_weight(op, arrays).T
    if op.bias:
        y = y + arrays["bias"]
    return activated(op.activation, normed(op.norm, arrays, y[:, :, None, None]))


def coded_weight(op: Conv2d | Linear, arrays: Arrays) -> Map:
    """The weight as the numbers that its codes stand for."""
    weight = arrays["weight"]
    each = (-1, *(1,) * (weight.ndim - 1))
    if op.precision.weights == "real":
        return weight
    if op.precision.weights == "sign":
        mean = np.abs(weight).reshape(len(weight), -1).mean(1).reshape(each)
        return np.where(weight >= 0, mean, -mean)
    step = arrays["weight.step"].reshape(each)
    return step * np.clip(np.rint(weight / step), *weight_limits(op.precision.weight_bits))


def normed(norm: Norm, arrays: Arrays, y: Map) -> Map:
    """``y`` after batch norm, or after the factor and term that it is deployed as."""
    if norm == "none":
        return y
    if norm == "folded":
        return y * arrays["gain"][:, None, None] + arrays["bias"][:, None, None]
    mean, variance, gamma, beta = (
        arrays[f"norm.{name}"][:, None, None] for name in ("mean", "variance", "weight", "bias")
    )
    return (y - mean) / np.sqrt(variance + NORM_EPSILON) * gamma + beta


def quantize(op: Quantize, arrays: Arrays, x: Map) -> Map:
    if op.bits == 1:
        return np.where(normed(op.norm, arrays, x) >= 0, 1.0, -1.0)
    return arrays["step"] * np.clip(np.rint(x / arrays["step"]), op.lowest, op.highest)


def batch_norm(op: BatchNorm, arrays: Arrays, x: Map) -> Map:
    return activated(op.activation, normed(op.norm, arrays, x))


def layer_norm(op: LayerNorm, arrays: Arrays, x: Map) -> Map:
    centred = x - x.mean(1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(1, keepdims=True) + op.epsilon)
    return centred / deviation * arrays["gain"][:, None, None] + arrays["bias"][:, None, None]


def local_response_norm(op: LocalResponseNorm, arrays: Arrays, x: Map) -> Map:
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        near = x[:, max(0, channel - op.size // 2) : channel + op.size // 2 + 1]
        power = (op.k + op.alpha / op.size * (near**2).sum(1)) ** op.beta
        y[:, channel] = x[:, channel] / power
    return y


def magnitude(op: Magnitude, arrays: Arrays, x: Map) -> Map:
    y: Map = np.abs(x).mean(1, keepdims=True)
    return y


def add(op: Add, arrays: Arrays, x: Map, y: Map) -> Map:
    return activated(op.activation, x + y)


def concat(op: Concat, arrays: Arrays, *inputs: Map) -> Map:
    return activated(op.activation, np.concatenate(inputs, axis=1))


def channel_split(op: ChannelSplit, arrays: Arrays, x: Map) -> Map:
    return x[:, op.start : op.stop]


def channel_shuffle(op: ChannelShuffle, arrays: Arrays, x: Map) -> Map:
    per_group = x.shape[1] // op.groups
    order = [group * per_group + n for n in range(per_group) for group in range(op.groups)]
    return x[:, order]


def scale(op: Scale, arrays: Arrays, x: Map, gate: Map) -> Map:
    return x * gate


def activate(op: Activate, arrays: Arrays, x: Map) -> Map:
    return activated(op.activation, x)


def max_pool(op: MaxPool, arrays: Arrays, x: Map) -> Map:
    shape = op.output_shape(x.shape[1:])
    y = np.zeros((len(x), *shape))
    for row, column, window in windows(
        x, shape[1:], op.kernel_size, op.stride, op.padding, -np.inf
    ):
        y[:, :, row, column] = window.max((2, 3))
    return y


def avg_pool(op: AvgPool, arrays: Arrays, x: Map) -> Map:
    shape = op.output_shape(x.shape[1:])
    y = np.zeros((len(x), *shape))
    for row, column, window in windows(
        x, shape[1:], op.kernel_size, op.stride, op.padding, np.nan
    ):
        y[:, :, row, column] = window_mean(op, x.shape[2:], row, column, window)
    return y


def window_mean(
    op: AvgPool, size: tuple[int, ...], row: int, column: int, window: NDArray[np.float64]
) -> Map:
    """The mean of a window, NaN outside of the map, number by number as torch defines it."""
    total, count = np.zeros(window.shape[:2]), 0
    for i in range(op.kernel_size[0]):
        for j in range(op.kernel_size[1]):
            y = row * op.stride[0] - op.padding[0] + i
            x = column * op.stride[1] - op.padding[1] + j
            if 0 <= y < size[0] and 0 <= x < size[1]:
                total, count = total + window[:, :, i, j], count + 1
            elif y < size[0] + op.end_pads[0] and x < size[1] + op.end_pads[1]:
                count += op.count_include_pad
    return total / count


def global_avg_pool(op: GlobalAvgPool, arrays: Arrays, x: Map) -> Map:
    y: Map = x.mean((2, 3), keepdims=True)
    return y


def dropout(op: Dropout, arrays: Arrays, x: Map) -> Map:
    return x


def windows(
    x: NDArray[Number],
    size: Size,
    kernel: Size,
    stride: Size,
    padding: Size,
    fill: float,
    dilation: Size = (1, 1),
) -> Iterator[tuple[int, int, NDArray[Number]]]:
    """Yields the place of each window in the output and what it sees, ``(B, C, kh, kw)``."""
    (kh, kw), (dh, dw), (ph, pw) = kernel, dilation, padding
    # As far as the last window reaches, which may be past any padding.
    height, width = x.shape[2:]
    below = (size[0] - 1) * stride[0] + (kh - 1) * dh + 1 - ph - height
    right = (size[1] - 1) * stride[1] + (kw - 1) * dw + 1 - pw - width
    padded = np.pad(
        x, ((0, 0), (0, 0), (ph, max(0, below)), (pw, max(0, right))), constant_values=fill
    )
    for row in range(size[0]):
        for column in range(size[1]):
            top, left = row * stride[0], column * stride[1]
            yield row, column, padded[:, :, top : top + kh * dh : dh, left : left + kw * dw : dw]


def activated(name: Activation, x: Map) -> Map:
    gate = np.clip(x + 3, 0, 6) / 6
    results: dict[Activation, Callable[[], Map]] = {
        "none": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "relu6": lambda: np.clip(x, 0, 6),
        "hardswish": lambda: x * gate,
        "hardsigmoid": lambda: gate,
        "sigmoid": lambda: sigmoid(x),
        "silu": lambda: x * sigmoid(x),
        "gelu": lambda: x * each(erfc, -x / sqrt(2)) / 2,
        "gelu_tanh": lambda: x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2,
        "leaky_relu": lambda: np.where(x < 0, 0.01 * x, x),
        "leaky_relu_0.1": lambda: np.where(x < 0, 0.1 * x, x),
        "leaky_relu_0.2": lambda: np.where(x < 0, 0.2 * x, x),
        "leaky_relu_0.3": lambda: np.where(x < 0, 0.3 * x, x),
    }
    return results[name]()


def sigmoid(x: Map) -> Map:
    return each(lambda number: 1 / (1 + exp(-number)), np.maximum(x, -700))


def each(function: Callable[[float], float], x: Map) -> Map:
    return np.array([function(number) for number in x.flat], np.float64).reshape(x.shape)


OPERATIONS: dict[type[Operator], Callable[..., Map]] = {
    Conv2d: conv2d,
    Linear: linear,
    Add: add,
    Concat: concat,
    ChannelSplit: channel_split,
    ChannelShuffle: channel_shuffle,
    Scale: scale,
    Activate: activate,
    MaxPool: max_pool,
    AvgPool: avg_pool,
    GlobalAvgPool: global_avg_pool,
    Dropout: dropout,
    Quantize: quantize,
    Magnitude: magnitude,
    LayerNorm: layer_norm,
    LocalResponseNorm: local_response_norm,
    BatchNorm: batch_norm,
}
