"""One convolution of 8 bits as ONNX: as a user's file has it, and as ONNX Runtime computes it.

Maps are u8 with a zero point of 0 (they follow a ReLU), weights s8 with a scale per channel.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.interleaved import Call
from benchmarks.shapes import Shape

Layout = Literal["qdq", "nhwc"]
X_STEP, WEIGHT_STEP, Y_STEP = np.float32(0.02), np.float32(0.003), np.float32(0.05)
OPSETS = (("", 19), ("com.microsoft", 1))


def int8_call(shape: Shape, layout: Layout) -> Call:
    """Returns a call that computes the layer in ONNX Runtime, on one thread.

    Args:
        layout: "qdq": NCHW, quantize and dequantize around a float convolution, as exported
            networks have it: ONNX Runtime computes it as an integer convolution between two
            transpositions. "nhwc": that integer convolution alone.
    """
    session = open_int8(qdq_model(shape) if layout == "qdq" else nhwc_model(shape))
    rng = np.random.default_rng(0)
    binding = session.io_binding()
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    x = ort.OrtValue.ortvalue_from_numpy(rng.integers(0, 256, given.shape).astype(np.uint8))
    y = ort.OrtValue.ortvalue_from_numpy(np.zeros(made.shape, np.uint8))
    binding.bind_ortvalue_input(given.name, x)
    binding.bind_ortvalue_output(made.name, y)

    # The buffers must live as long as the call that uses them.
    def call(x: object = x, y: object = y) -> None:
        session.run_with_iobinding(binding)

    return call


def open_int8(model: onnx.ModelProto) -> ort.InferenceSession:
    """Opens a model; asserts that its convolution is computed on integers."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder, "optimised.onnx")
        options.optimized_model_filepath = str(optimised)
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        kinds = [node.op_type for node in onnx.load(optimised).graph.node]
    assert "QLinearConv" in kinds, kinds
    assert "Conv" not in kinds, kinds
    return session


def qdq_model(shape: Shape) -> onnx.ModelProto:
    weights, bias = random_weights(shape)
    outputs = shape.out_channels
    arrays = {
        "x_step": X_STEP,
        "x_zero": np.uint8(0),
        "w": weights,
        "w_step": np.full(outputs, WEIGHT_STEP),
        "w_zero": np.zeros(outputs, np.int8),
        "b": bias,
        "b_step": np.full(outputs, X_STEP * WEIGHT_STEP),
        "b_zero": np.zeros(outputs, np.int32),
        "y_step": Y_STEP,
        "y_zero": np.uint8(0),
    }
    axes: list[tuple[str, dict[str, Any]]] = [("x", {}), ("w", {"axis": 0}), ("b", {"axis": 0})]
    nodes = [
        helper.make_node("DequantizeLinear", [n, f"{n}_step", f"{n}_zero"], [f"{n}f"], **axis)
        for n, axis in axes
    ]
    nodes += [
        helper.make_node("Conv", ["xf", "wf", "bf"], ["sum"], **attributes(shape)),
        helper.make_node("Relu", ["sum"], ["yf"]),
        helper.make_node("QuantizeLinear", ["yf", "y_step", "y_zero"], ["y"]),
    ]
    out = shape.out_size
    return model_of(
        nodes, arrays, [1, shape.in_channels, shape.size, shape.size], [1, outputs, out, out]
    )


def nhwc_model(shape: Shape) -> onnx.ModelProto:
    weights, bias = random_weights(shape)
    arrays = {
        "x_step": X_STEP,
        "x_zero": np.uint8(0),
        "w": weights,
        "w_step": np.full(shape.out_channels, WEIGHT_STEP),
        "w_zero": np.int8(0),
        "y_step": Y_STEP,
        "y_zero": np.uint8(0),
        "b": bias,
    }
    conv = helper.make_node(
        "QLinearConv",
        ["x", *arrays],
        ["y"],
        domain="com.microsoft",
        channels_last=1,
        **attributes(shape),
    )
    out = shape.out_size
    return model_of(
        [conv],
        arrays,
        [1, shape.size, shape.size, shape.in_channels],
        [1, out, out, shape.out_channels],
    )


def random_weights(shape: Shape) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    rng = np.random.default_rng(0)
    size = (shape.out_channels, shape.in_channels // shape.groups, shape.kernel, shape.kernel)
    weights = rng.integers(-127, 128, size).astype(np.int8)
    return weights, rng.integers(-1000, 1000, shape.out_channels).astype(np.int32)


def attributes(shape: Shape) -> dict[str, Any]:
    return {
        "kernel_shape": [shape.kernel] * 2,
        "strides": [shape.stride] * 2,
        "pads": [shape.padding] * 4,
        "group": shape.groups,
    }


def model_of(
    nodes: Sequence[onnx.NodeProto],
    arrays: dict[str, Any],
    in_shape: Sequence[int],
    out_shape: Sequence[int],
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, size)
        for name, size in (("x", in_shape), ("y", out_shape))
    ]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid(*each) for each in OPSETS]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
