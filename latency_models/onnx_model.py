"""ONNX: a model written as an ONNX file, straight from its graph.

Source: ONNX operator schemas, https://onnx.ai/onnx/operators/, opset 18.

The file takes ``input`` of shape (batch, C, H, W), float32, with any batch size, and gives
``logits`` of shape (batch, classes), or (batch, C, H, W) where a graph ends in a map. Arrays keep
the names they have in the model. Batch norm is folded and dropout left out, as deployed.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version

import numpy as np
import onnx
from onnx import helper

from latency_models.onnx_graph import OnnxGraph
from search_spaces.errors import UnsupportedOperatorError
from search_spaces.graph import Node
from search_spaces.model import Model, fold_batch_norm
from search_spaces.operators import (
    OPERATOR_NAMES,
    Activate,
    Activation,
    Add,
    AvgPool,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Scale,
    Shape,
)
from search_spaces.precision import FP32, Precision

OPSET = 18
IR_VERSION = 8  # the one that opset 18 came with: the oldest that every reader of it takes


def onnx_model(
    model: Model, *, name: str = "network", metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Returns ``model`` as a checked ONNX model.

    Args:
        model: Weights and graph; its batch norms are folded first.
        name: The name of the ONNX graph.
        metadata: Written to the file's properties beside ``hwnas.version`` and
            ``hwnas.input_shape``, for example class names or the input's normalisation.

    Raises:
        UnsupportedOperatorError: If a node has an operator or precision that this export lacks.
    """
    model = fold_batch_norm(model)
    file = OnnxGraph(model)
    for node in model.graph.nodes:
        check_precision(node)
        writer_of(node)(file, node)
    proto = helper.make_model(
        file.finish(name),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="hwnas",
        producer_version=version("hwnas"),
    )
    properties = {
        "hwnas.version": version("hwnas"),
        "hwnas.input_shape": ",".join(map(str, model.graph.input_shape)),
    }
    helper.set_model_props(proto, properties | dict(metadata or {}))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def activate(file: OnnxGraph, value: str, name: str, activation: Activation) -> str:
    """Adds ``activation`` after ``value`` and returns the value that it gives."""
    match activation:
        case "none":
            return value
        case "relu":
            return file.add("Relu", name, [value])
        case "relu6":
            low = file.constant(f"{name}/low", np.array(0, np.float32))
            high = file.constant(f"{name}/high", np.array(6, np.float32))
            return file.add("Clip", name, [value, low, high])
        case "hardswish":
            return file.add("HardSwish", name, [value])
        case "hardsigmoid":
            return file.add("HardSigmoid", name, [value], alpha=1 / 6, beta=0.5)
        case _:
            raise UnsupportedOperatorError(f"ONNX export has no activation {activation!r}")


def write_conv2d(file: OnnxGraph, node: Node) -> None:
    op: Conv2d = node.operator  # type: ignore[assignment]
    value = file.add(
        "Conv",
        node.name,
        [*file.maps(node), *file.weights(node)],
        kernel_shape=op.kernel_size,
        strides=op.stride,
        pads=op.pads * 2,
        dilations=op.dilation,
        group=op.groups,
    )
    file.put(node, activate(file, value, node.name, op.activation))


def write_linear(file: OnnxGraph, node: Node) -> None:
    op: Linear = node.operator  # type: ignore[assignment]
    inputs = [file.vector(node.inputs[0]), *file.weights(node)]
    value = file.add("Gemm", node.name, inputs, transB=1)
    result = activate(file, value, node.name, op.activation)
    file.flat.add(result)
    file.put(node, result)


def write_add(file: OnnxGraph, node: Node) -> None:
    op: Add = node.operator  # type: ignore[assignment]
    value = file.add("Add", node.name, file.maps(node))
    file.put(node, activate(file, value, node.name, op.activation))


def write_concat(file: OnnxGraph, node: Node) -> None:
    op: Concat = node.operator  # type: ignore[assignment]
    value = file.add("Concat", node.name, file.maps(node), axis=1)
    file.put(node, activate(file, value, node.name, op.activation))


def write_channel_split(file: OnnxGraph, node: Node) -> None:
    op: ChannelSplit = node.operator  # type: ignore[assignment]
    limits = [
        file.constant(f"{node.name}/{part}", (value,))
        for part, value in (("start", op.start), ("stop", op.stop), ("axis", 1))
    ]
    file.put(node, file.add("Slice", node.name, [*file.maps(node), *limits]))


def write_channel_shuffle(file: OnnxGraph, node: Node) -> None:
    op: ChannelShuffle = node.operator  # type: ignore[assignment]
    channels, height, width = node.shape
    # A zero keeps the dimension as it is: the batch stays free.
    grouped = file.constant(
        f"{node.name}/grouped", (0, op.groups, channels // op.groups, height, width)
    )
    joined = file.constant(f"{node.name}/joined", (0, channels, height, width))
    value = file.add("Reshape", f"{node.name}/split", [*file.maps(node), grouped])
    value = file.add("Transpose", node.name, [value], perm=(0, 2, 1, 3, 4))
    file.put(node, file.add("Reshape", node.name, [value, joined]))


def write_scale(file: OnnxGraph, node: Node) -> None:
    file.put(node, file.add("Mul", node.name, file.maps(node)))


def write_activate(file: OnnxGraph, node: Node) -> None:
    op: Activate = node.operator  # type: ignore[assignment]
    file.put(node, activate(file, file.map(node.inputs[0]), node.name, op.activation))


def write_max_pool(file: OnnxGraph, node: Node) -> None:
    op: MaxPool = node.operator  # type: ignore[assignment]
    shape = file.model.graph.shapes[node.inputs[0]]
    value = file.add(
        "MaxPool",
        node.name,
        file.maps(node),
        kernel_shape=op.kernel_size,
        strides=op.stride,
        pads=(*op.padding, *end_pads(op, shape, node.shape)),
    )
    file.put(node, value)


def end_pads(op: MaxPool, shape: Shape, output: Shape) -> list[int]:
    """Returns the zeros below and to the right that give exactly the graph's output size.

    Runtimes round ``ceil_mode`` at the border differently; padding never wins a maximum, so
    spelling it out says the same thing to all of them.
    """
    return [
        max(pad, (windows - 1) * stride + kernel - size - pad)
        for size, windows, kernel, stride, pad in zip(
            shape[1:], output[1:], op.kernel_size, op.stride, op.padding, strict=True
        )
    ]


def write_avg_pool(file: OnnxGraph, node: Node) -> None:
    op: AvgPool = node.operator  # type: ignore[assignment]
    value = file.add(
        "AveragePool",
        node.name,
        file.maps(node),
        kernel_shape=op.kernel_size,
        strides=op.stride,
        pads=op.padding * 2,
        count_include_pad=1,
    )
    file.put(node, value)


def write_global_avg_pool(file: OnnxGraph, node: Node) -> None:
    file.put(node, file.add("GlobalAveragePool", node.name, file.maps(node)))


def write_dropout(file: OnnxGraph, node: Node) -> None:
    file.values[node.name] = file.values[node.inputs[0]]


WRITERS: dict[type, Callable[[OnnxGraph, Node], None]] = {
    Conv2d: write_conv2d,
    Linear: write_linear,
    Add: write_add,
    Concat: write_concat,
    ChannelSplit: write_channel_split,
    ChannelShuffle: write_channel_shuffle,
    Scale: write_scale,
    Activate: write_activate,
    MaxPool: write_max_pool,
    AvgPool: write_avg_pool,
    GlobalAvgPool: write_global_avg_pool,
    Dropout: write_dropout,
}


def writer_of(node: Node) -> Callable[[OnnxGraph, Node], None]:
    kind = type(node.operator)
    if kind not in WRITERS:
        name = OPERATOR_NAMES.get(kind, kind.__name__)
        raise UnsupportedOperatorError(f"ONNX export has no operator {name!r} ({node.name})")
    return WRITERS[kind]


def check_precision(node: Node) -> None:
    precision: Precision = getattr(node.operator, "precision", FP32)
    if precision != FP32:
        raise UnsupportedOperatorError(
            f"ONNX export has no precision {precision} ({node.name}); use fp32"
        )
