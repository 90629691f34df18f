"""Operators in ONNX: what writes the node of each, with real weights.

Operators that only move numbers move codes where they read codes.
"""

from typing import Any

import numpy as np

from latency_models.onnx.activations import activate
from latency_models.onnx.graph import OnnxGraph
from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import Node


def write_conv2d(file: OnnxGraph, node: Node, op: ops.Conv2d) -> None:
    value = file.add(
        "Conv",
        node.name,
        [file.apart(node.inputs[0]), *file.weights(node)],
        **windows(op),
    )
    file.put(node, activate(file, value, node.name, op.activation))


def windows(op: ops.Conv2d) -> dict[str, Any]:
    """Returns the attributes of a convolution."""
    return {
        "kernel_shape": op.kernel_size,
        "strides": op.stride,
        "pads": (*op.pads, *op.end_pads),
        "dilations": op.dilation,
        "group": op.groups,
    }


def write_linear(file: OnnxGraph, node: Node, op: ops.Linear) -> None:
    (name,) = node.inputs
    value = file.vector(name)
    if name in file.coded:
        value = file.add("Flatten", node.name, [file.apart(name)])
    value = file.add("Gemm", node.name, [value, *file.weights(node)], transB=1)
    put_vector(file, node, activate(file, value, node.name, op.activation))


def put_vector(file: OnnxGraph, node: Node, value: str) -> None:
    """Makes ``value`` (batch, C) the node's result."""
    file.flat.add(value)
    file.put(node, value)


def write_add(file: OnnxGraph, node: Node, op: ops.Add) -> None:
    value = file.add("Add", node.name, file.maps(node))
    file.put(node, activate(file, value, node.name, op.activation))


def write_concat(file: OnnxGraph, node: Node, op: ops.Concat) -> None:
    inputs, coding = (file.maps(node), None) if op.activation != "none" else file.moved(node)
    value = file.add("Concat", node.name, inputs, axis=1)
    file.put(node, activate(file, value, node.name, op.activation), coding)


def write_channel_split(file: OnnxGraph, node: Node, op: ops.ChannelSplit) -> None:
    limits = [
        file.constant(f"{node.name}/{part}", (value,))
        for part, value in (("start", op.start), ("stop", op.stop), ("axis", 1))
    ]
    inputs, coding = file.moved(node)
    file.put(node, file.add("Slice", node.name, [*inputs, *limits]), coding)


def write_channel_shuffle(file: OnnxGraph, node: Node, op: ops.ChannelShuffle) -> None:
    channels, height, width = node.shape
    # A zero keeps the dimension as it is: the batch stays free.
    grouped = file.constant(
        f"{node.name}/grouped", (0, op.groups, channels // op.groups, height, width)
    )
    joined = file.constant(f"{node.name}/joined", (0, channels, height, width))
    inputs, coding = file.moved(node)
    value = file.add("Reshape", f"{node.name}/split", [*inputs, grouped])
    value = file.add("Transpose", node.name, [value], perm=(0, 2, 1, 3, 4))
    file.put(node, file.add("Reshape", node.name, [value, joined]), coding)


def write_scale(file: OnnxGraph, node: Node, op: ops.Scale) -> None:
    file.put(node, file.add("Mul", node.name, file.maps(node)))


def write_activate(file: OnnxGraph, node: Node, op: ops.Activate) -> None:
    file.put(node, activate(file, file.map(node.inputs[0]), node.name, op.activation))


def write_batch_norm(file: OnnxGraph, node: Node, op: ops.BatchNorm) -> None:
    """As one operator where numbers are real; beside codes as two, which round like kernels."""
    channels, x = node.shape[0], file.map(node.inputs[0])
    if any(isinstance(each.operator, ops.Quantize) for each in file.model.graph.nodes):
        value = file.add("Mul", node.name, [x, file.each(node, "gain")])
        value = file.add("Add", node.name, [value, file.each(node, "bias")])
    else:
        arrays = [f"{node.name}.{name}" for name in ops.FOLDED_ARRAYS]
        inputs = [file.constant(name, file.model.arrays[name]) for name in arrays]
        inputs += [
            file.constant(f"{node.name}/{name}", np.full(channels, number, np.float32))
            for name, number in (("mean", 0), ("variance", 1))
        ]
        value = file.add("BatchNormalization", node.name, [x, *inputs], epsilon=0.0)
    file.put(node, activate(file, value, node.name, op.activation))


def write_layer_norm(file: OnnxGraph, node: Node, op: ops.LayerNorm) -> None:
    """Over the last dimension, as every runtime has it: there and back by transposing."""
    (x,) = file.maps(node)
    arrays = [f"{node.name}.{name}" for name in ops.FOLDED_ARRAYS]
    inputs = [file.constant(name, file.model.arrays[name]) for name in arrays]
    x = file.add("Transpose", f"{node.name}/last", [x], perm=(0, 2, 3, 1))
    attributes = {"axis": -1, "epsilon": op.epsilon}
    value = file.add("LayerNormalization", node.name, [x, *inputs], **attributes)
    file.put(node, file.add("Transpose", node.name, [value], perm=(0, 3, 1, 2)))


def write_local_response_norm(file: OnnxGraph, node: Node, op: ops.LocalResponseNorm) -> None:
    settings = {"size": op.size, "alpha": op.alpha, "beta": op.beta, "bias": op.k}
    file.put(node, file.add("LRN", node.name, file.maps(node), **settings))


def write_max_pool(file: OnnxGraph, node: Node, op: ops.MaxPool) -> None:
    shape = file.model.graph.shapes[node.inputs[0]]
    inputs, coding = file.moved(node)
    value = file.add(
        "MaxPool",
        node.name,
        inputs,
        kernel_shape=op.kernel_size,
        strides=op.stride,
        pads=(*op.padding, *spelled_ends(op, shape, node.shape)),
    )
    file.put(node, value, coding)


def spelled_ends(
    op: ops.MaxPool | ops.AvgPool, shape: ops.Shape, output: ops.Shape
) -> tuple[int, ...]:
    """Returns the zeros below and to the right that give exactly the graph's output size.

    Runtimes round ``ceil_mode`` at the border differently; padding never wins a maximum, so
    spelling it out says the same thing to all of them.
    """
    sizes, counts = (shape[1], shape[2]), (output[1], output[2])
    ends = ops.window_ends(sizes, counts, op.kernel_size, op.stride, op.padding)
    return tuple(max(pair) for pair in zip(op.end_pads, ends, strict=True))


def write_avg_pool(file: OnnxGraph, node: Node, op: ops.AvgPool) -> None:
    """What ceil mode reaches beyond the padding must not count: such padding is made first."""
    shape, (value,) = file.model.graph.shapes[node.inputs[0]], file.maps(node)
    ends = spelled_ends(op, shape, node.shape)
    starts, counts = op.padding, op.count_include_pad
    if counts and ends != op.end_pads:
        pads = file.constant(f"{node.name}/pads", (0, 0, *starts, 0, 0, *op.end_pads))
        value = (
            file.add("Pad", node.name, [value, pads]) if any((*starts, *op.end_pads)) else value
        )
        rest = zip(ends, op.end_pads, strict=True)
        starts, ends, counts = (0, 0), tuple(end - pad for end, pad in rest), False
    value = file.add(
        "AveragePool",
        node.name,
        [value],
        kernel_shape=op.kernel_size,
        strides=op.stride,
        pads=(*starts, *ends),
        count_include_pad=int(counts),
    )
    file.put(node, value)


def write_magnitude(file: OnnxGraph, node: Node, op: ops.Magnitude) -> None:
    absolute = file.add("Abs", node.name, file.maps(node))
    channels = file.constant(f"{node.name}/channels", (1,))
    file.put(node, file.add("ReduceMean", node.name, [absolute, channels], keepdims=1))


def write_global_avg_pool(file: OnnxGraph, node: Node, op: ops.GlobalAvgPool) -> None:
    file.put(node, file.add("GlobalAveragePool", node.name, file.maps(node)))


def write_dropout(file: OnnxGraph, node: Node, op: ops.Dropout) -> None:
    (name,) = node.inputs
    if name in file.coded:
        file.coded[node.name] = file.coded[name]
    if name in file.values:
        file.values[node.name] = file.values[name]
