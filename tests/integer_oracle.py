"""Integer oracle: what a deployed network computes, in plain numpy; slow and obvious.

A map is float32 numbers or codes of a quantizer. Coded layers sum integers exactly; every
operation on real numbers after that is float32 and rounded by itself, in the order of the kernels'
epilogue: scale, magnitude map, bias, residual, activation. Layers with real weights, and sums of
real numbers, add up in float64 and round once.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.activations import ACTIVATIONS, Activation
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model
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
    Operator,
    Quantize,
    Scale,
    Shape,
)
from search_spaces.quantization.codes import output_scale, weight_codes
from tests import oracle
from tests.oracle import window_mean, windows

Real = NDArray[np.float32]
F = np.float32
Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, slots=True)
class Codes:
    """A map of integer codes or of signs.

    Attributes:
        codes: Signed whole numbers (B, C, H, W), int64; signs are -1 and +1.
        step: What one code counts; 1 for signs.
        bits: Of a code.
        quantizer: Name of the node that made them.
    """

    codes: NDArray[np.int64]
    step: np.float32
    bits: int
    quantizer: str

    @property
    def values(self) -> Real:
        return self.codes.astype(F) * self.step


Map = Real | Codes


def run(model: Model, x: NDArray[np.floating]) -> dict[str, Map]:
    """Returns every map ``(B, C, H, W)`` of a deployed model by node name, the input included."""
    maps: dict[str, Map] = {INPUT: x.astype(F)}
    for node in model.graph.nodes:
        inputs = [maps[name] for name in node.inputs]
        found = OPERATIONS[type(node.operator)](model, node, *inputs)
        shape = (found.codes if isinstance(found, Codes) else found).shape
        assert shape == (len(x), *node.shape), (node.name, shape)
        assert isinstance(found, Codes) or found.dtype == F, node.name
        maps[node.name] = found
    return maps


def output(model: Model, x: NDArray[np.floating]) -> Real:
    """Returns the network's last map, as numbers."""
    return real(run(model, x)[model.graph.output.name])


def real(x: Map) -> Real:
    """Returns a map as numbers."""
    return x.values if isinstance(x, Codes) else x


def unsigned_codes(graph: Graph, x: Codes) -> NDArray[np.int64]:
    """Returns codes as kernels hold them: from 0 on; signs as 0 and 1."""
    operator = graph.node(x.quantizer).operator
    assert isinstance(operator, Quantize)
    return (x.codes + 1) // 2 if operator.bits == 1 else x.codes - operator.lowest


def quantize(model: Model, node: Node, x: Map) -> Codes:
    op: Quantize = node.operator  # type: ignore[assignment]
    values = real(x)
    if op.bits == 1:
        signs = np.where(normalised(model, node, values) >= 0, 1, -1)
        return Codes(signs.astype(np.int64), F(1), 1, node.name)
    step = F(model.arrays[f"{node.name}.step"])
    inverse = F(1 / np.float64(step))
    codes = np.clip(np.rint(values * inverse), op.lowest, op.highest).astype(np.int64)
    return Codes(codes, step, op.bits, node.name)


def normalised(model: Model, node: Node, x: Real) -> Real:
    op: Quantize | BatchNorm = node.operator  # type: ignore[assignment]
    assert op.norm != "batch", f"{node.name} is not deployed: fold its batch norm"
    if op.norm == "none":
        return x
    return x * each(model, node, "gain") + each(model, node, "bias")


def batch_norm(model: Model, node: Node, x: Map) -> Real:
    op: BatchNorm = node.operator  # type: ignore[assignment]
    return activated(op.activation, normalised(model, node, real(x)))


def conv2d(model: Model, node: Node, x: Map, magnitude: Map | None = None) -> Real:
    op: Conv2d = node.operator  # type: ignore[assignment]
    assert op.norm != "batch", f"{node.name} is not deployed: fold its batch norm"
    if op.precision.weights == "real":
        weight = model.arrays[f"{node.name}.weight"].astype(np.float64)
        y = windows_dot(op, real(x).astype(np.float64), weight, 0)
        if op.bias:
            y = y + each(model, node, "bias")
        return activated(op.activation, y.astype(F))
    codes, _ = weight_codes(model, node)
    if op.precision.activations == "real":
        numbers = real(x).astype(np.float64)
        sums = windows_dot(op, numbers, codes.astype(np.float64), 0).astype(F)
    else:
        outside = -1 if op.precision.activation_bits == 1 else 0
        sums = windows_dot(op, read_codes(op, x), codes.astype(np.int64), outside).astype(F)
    return epilogue(model, node, sums, magnitude)


def linear(model: Model, node: Node, x: Map) -> Real:
    op: Linear = node.operator  # type: ignore[assignment]
    if op.precision.weights == "real":
        weight = model.arrays[f"{node.name}.weight"].astype(np.float64)
        y = (flat(real(x).astype(np.float64)) @ weight.T)[:, :, None, None]
        if op.bias:
            y = y + each(model, node, "bias")
        return activated(op.activation, y.astype(F))
    assert op.norm == "folded", f"{node.name} is not deployed"
    codes, _ = weight_codes(model, node)
    if op.precision.activations == "real":
        sums = (flat(real(x).astype(np.float64)) @ codes.T.astype(np.float64)).astype(F)
    else:
        sums = (flat(read_codes(op, x)) @ codes.T.astype(np.int64)).astype(F)
    return epilogue(model, node, sums[:, :, None, None])


def read_codes(op: Conv2d | Linear, x: Map) -> NDArray[np.int64]:
    assert isinstance(x, Codes), "a low-bit layer reads codes"
    assert x.bits == op.precision.activation_bits
    return x.codes


def epilogue(model: Model, node: Node, sums: Real, magnitude: Map | None = None) -> Real:
    y = sums * output_scale(model, node)[:, None, None]
    if magnitude is not None:
        y = y * real(magnitude)
    y = y + each(model, node, "bias")
    activation: Activation = node.operator.activation  # type: ignore[attr-defined]
    return activated(activation, y)


def windows_dot(
    op: Conv2d, x: NDArray[Number], weight: NDArray[Number], outside: int
) -> NDArray[Number]:
    """Returns the sum over each window, group by group, for numbers of the type of ``weight``."""
    shape: Shape = op.output_shape(x.shape[1:])
    y = np.zeros((len(x), *shape), weight.dtype)
    for row, column, window in windows(
        x, shape[1:], op.kernel_size, op.stride, op.pads, outside, op.dilation
    ):
        parts = zip(np.split(window, op.groups, axis=1), np.split(weight, op.groups), strict=True)
        y[:, :, row, column] = np.concatenate(
            [np.einsum("bchw,ochw->bo", part, taps) for part, taps in parts], axis=1
        )
    return y


def add(model: Model, node: Node, x: Map, y: Map) -> Real:
    op: Add = node.operator  # type: ignore[assignment]
    return activated(op.activation, real(x) + real(y))


def concat(model: Model, node: Node, *inputs: Map) -> Map:
    op: Concat = node.operator  # type: ignore[assignment]
    codes = [x for x in inputs if isinstance(x, Codes)]
    same = len(codes) == len(inputs) and len({x.quantizer for x in codes}) == 1
    if same and op.activation == "none":
        return replace(codes[0], codes=np.concatenate([x.codes for x in codes], axis=1))
    return activated(op.activation, np.concatenate([real(x) for x in inputs], axis=1))


def channel_split(model: Model, node: Node, x: Map) -> Map:
    op: ChannelSplit = node.operator  # type: ignore[assignment]
    if isinstance(x, Codes):
        return replace(x, codes=x.codes[:, op.start : op.stop])
    return x[:, op.start : op.stop]


def channel_shuffle(model: Model, node: Node, x: Map) -> Map:
    op: ChannelShuffle = node.operator  # type: ignore[assignment]
    per_group = node.shape[0] // op.groups
    order = [group * per_group + n for n in range(per_group) for group in range(op.groups)]
    return replace(x, codes=x.codes[:, order]) if isinstance(x, Codes) else x[:, order]


def max_pool(model: Model, node: Node, x: Map) -> Map:
    op: MaxPool = node.operator  # type: ignore[assignment]
    numbers = x.codes.astype(np.float64) if isinstance(x, Codes) else x.astype(np.float64)
    y: NDArray[np.float64] = np.zeros((len(numbers), *node.shape))
    for row, column, window in windows(
        numbers, node.shape[1:], op.kernel_size, op.stride, op.padding, -np.inf
    ):
        y[:, :, row, column] = window.max((2, 3))
    return replace(x, codes=y.astype(np.int64)) if isinstance(x, Codes) else y.astype(F)


def avg_pool(model: Model, node: Node, x: Map) -> Real:
    op: AvgPool = node.operator  # type: ignore[assignment]
    y: NDArray[np.float64] = np.zeros((len(real(x)), *node.shape))
    for row, column, window in windows(
        real(x).astype(np.float64), node.shape[1:], op.kernel_size, op.stride, op.padding, np.nan
    ):
        y[:, :, row, column] = window_mean(op, real(x).shape[2:], row, column, window)
    return y.astype(F)


def global_avg_pool(model: Model, node: Node, x: Map) -> Real:
    return real(x).astype(np.float64).mean((2, 3), keepdims=True).astype(F)


def norm_of_channels(model: Model, node: Node, x: Map) -> Real:
    """Of real numbers, which have no order of adding."""
    op: LayerNorm | LocalResponseNorm = node.operator  # type: ignore[assignment]
    names = op.array_shapes(node.shape)
    arrays = {name: model.arrays[f"{node.name}.{name}"].astype(np.float64) for name in names}
    compute = oracle.layer_norm if isinstance(op, LayerNorm) else oracle.local_response_norm
    return compute(op, arrays, real(x).astype(np.float64)).astype(F)  # type: ignore[arg-type]


def magnitude(model: Model, node: Node, x: Map) -> Real:
    return np.abs(real(x)).astype(np.float64).mean(1, keepdims=True).astype(F)


def scale(model: Model, node: Node, x: Map, gate: Map) -> Real:
    return real(x) * real(gate)


def activate(model: Model, node: Node, x: Map) -> Real:
    op: Activate = node.operator  # type: ignore[assignment]
    return activated(op.activation, real(x))


def dropout(model: Model, node: Node, x: Map) -> Map:
    return x


def activated(name: Activation, x: Real) -> Real:
    gate = np.clip(x * F(1 / 6) + F(0.5), F(0), F(1))
    results: dict[Activation, Real] = {
        "none": x,
        "relu": np.maximum(x, F(0)),
        "relu6": np.clip(x, F(0), F(6)),
        "hardsigmoid": gate,
        "hardswish": x * gate,
        "leaky_relu": np.where(x < 0, x * F(0.01), x),
        "leaky_relu_0.1": np.where(x < 0, x * F(0.1), x),
        "leaky_relu_0.2": np.where(x < 0, x * F(0.2), x),
        "leaky_relu_0.3": np.where(x < 0, x * F(0.3), x),
    }
    if name not in results:  # a smooth one, which is defined by its steps
        return ACTIVATIONS[name].compute(x)
    return results[name]


def flat(x: NDArray[Number]) -> NDArray[Number]:
    return x.reshape(len(x), -1)


def each(model: Model, node: Node, array: str) -> Real:
    """An array of one number per output channel, as it meets a map."""
    return model.arrays[f"{node.name}.{array}"][:, None, None]


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
    LayerNorm: norm_of_channels,
    LocalResponseNorm: norm_of_channels,
    BatchNorm: batch_norm,
}
