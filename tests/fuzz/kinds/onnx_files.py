"""ONNX files: damaged bytes, and nodes, attributes and weights that do not belong together."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from latency_models.onnx.reading.imported import import_onnx
from search_spaces.graphs.cost import network_cost
from tests.fuzz.mutations import damaged
from tests.fuzz.runner import Kind
from tests.latency_models.parts.onnx_text import onnx_file

BODY = """
n = BatchNormalization(x, gamma, beta, mean, var) c = Conv<pads = [1, 1, 1, 1]>(n, w)
r = Relu(c) s = GlobalAveragePool(r) h = HardSigmoid(s) m = Mul(r, h)
a, b = Split<axis = 1>(m, halves) k = Concat<axis = 1>(b, a)
q = QuantizeLinear(k, step, zero) d = DequantizeLinear(q, step, zero)
p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d) t = Transpose<perm = [0, 2, 3, 1]>(p)
f = Reshape(t, flat) g = Gemm<transB = 1>(f, v, bias) y = Softmax<axis = 1>(g)
"""
WEIGHTS: dict[str, Any] = {
    **{"gamma": (3,), "beta": (3,), "mean": (3,), "var": (3,), "w": (6, 3, 3, 3)},
    **{"halves": np.array([2, 4]), "step": 0.1, "zero": np.array(0, np.int8)},
    **{"flat": np.array([1, -1]), "v": (5, 96), "bias": (5,)},
}
KINDS = ("Relu", "Conv", "Gemm", "MatMul", "Add", "Concat", "Reshape", "Pad", "Slice", "Clip")
NUMBERS = (0, -1, 1, 2, 7, 1 << 20, 1 << 40, -(1 << 62))


def kind(folder: Path) -> Kind:
    right = onnx_file(BODY, **WEIGHTS)
    path = folder / "net.onnx"

    def attempt(rng: Random) -> None:
        proto = ModelProto()
        proto.CopyFrom(right)
        for _ in range(rng.choice((0, 1, 1, 2))):
            change(proto, rng)
        data = proto.SerializeToString()
        path.write_bytes(damaged(data, rng) if rng.random() < 0.4 else data)
        network_cost(import_onnx(path).model.graph)

    return Kind("onnx_files", attempt, lines=10)


def change(proto: ModelProto, rng: Random) -> None:
    """Changes one place of a file."""
    graph = proto.graph
    node = rng.choice(graph.node)
    match rng.randrange(7):
        case 0:
            node.op_type = rng.choice(KINDS)
        case 1:
            graph.node.remove(node)
        case 2 if node.input:
            values = [each for other in graph.node for each in (*other.input, *other.output)]
            node.input[rng.randrange(len(node.input))] = rng.choice(values)
        case 3:
            change_numbers(node, rng)
        case 4:
            dims = graph.input[0].type.tensor_type.shape.dim
            rng.choice(dims).dim_value = rng.choice(NUMBERS)
        case 5:
            proto.opset_import[0].version = rng.choice((1, 7, 13, 21, 1000))
        case _:
            change_weights(rng.choice(graph.initializer), rng)


def change_numbers(node: onnx.NodeProto, rng: Random) -> None:
    for attribute in node.attribute:
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
        elif attribute.HasField("i"):
            attribute.i = rng.choice(NUMBERS)


def change_weights(tensor: onnx.TensorProto, rng: Random) -> None:
    array: np.ndarray[Any, Any] = numpy_helper.to_array(tensor).copy()
    match rng.randrange(4):
        case 0:
            array = array.reshape(-1)
        case 1 if array.size and array.dtype == np.float32:
            array.reshape(-1)[0] = rng.choice((np.nan, np.inf, 1e38, 0.0))
        case 2 if array.dtype == np.int64:
            array = np.full_like(array, rng.choice(NUMBERS))
        case _:
            array = np.concatenate([np.atleast_1d(array)] * 2)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
