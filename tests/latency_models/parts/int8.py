"""Whether ONNX Runtime's convolutions of 8-bit codes are exact on this machine.

On x86-64 without VNNI it adds pairs of products in 16 bits, which saturate
(``latency_models/onnx/quantized.py``). Tests that compare its numbers exactly are marked
``needs_exact_int8`` and skip where this probe, which knows nothing of our files, finds that.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d
from search_spaces.graphs.precision import W8A8

CHANNELS, SIDE = 16, 3
REASON = "ONNX Runtime's 8-bit convolutions saturate on this processor"


def may_saturate(graph: Graph) -> bool:
    """Whether a graph has a convolution that sums products of two 8-bit codes as integers."""
    convolutions = [node for node in graph.nodes if isinstance(node.operator, Conv2d)]
    return any(
        node.operator.precision == W8A8 and graph.input_shapes(node)[0][0] > node.operator.groups  # type: ignore[attr-defined]
        for node in convolutions
    )


@cache
def int8_is_exact() -> bool:
    """Whether both forms that our files have give what the largest codes do."""
    return bool((integer_sums() == 127 * 127 * CHANNELS).all() and (codes_of_sums() == 100).all())


def integer_sums() -> NDArray[np.int32]:
    """What ``ConvInteger`` makes of signed maps and unsigned weights."""
    constants = {"w": weights(255, np.uint8), "xz": np.int8(0), "wz": np.uint8(128)}
    return run("ConvInteger", ("x", "w", "xz", "wz"), image(127, np.int8), np.int32, constants)


def codes_of_sums() -> NDArray[np.uint8]:
    """What ``QLinearConv`` makes of unsigned maps and signed weights: 100."""
    one, step = np.float32(1), np.float32(255 * 127 * CHANNELS / 100)
    scales = {"xs": one, "ws": one, "ys": step}
    zeros = {"xz": np.uint8(0), "wz": np.int8(0), "yz": np.uint8(0)}
    constants = {"w": weights(127, np.int8), **scales, **zeros}
    inputs = ("x", "xs", "xz", "w", "ws", "wz", "ys", "yz")
    return run("QLinearConv", inputs, image(255, np.uint8), np.uint8, constants)


def weights(code: int, kind: type[np.generic]) -> NDArray[Any]:
    return np.full((CHANNELS, CHANNELS, 1, 1), code, kind)


def image(code: int, kind: type[np.generic]) -> NDArray[Any]:
    return np.full((1, CHANNELS, SIDE, SIDE), code, kind)


def run(
    operator: str,
    inputs: Sequence[str],
    x: NDArray[Any],
    result: type[np.generic],
    constants: Mapping[str, Any],
) -> NDArray[Any]:
    """The result of one operator of ONNX, which has the shape of its map."""
    value = helper.make_tensor_value_info
    kind = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"])],
        "probe",
        [value("x", kind(x.dtype), x.shape)],
        [value("y", kind(np.dtype(result)), x.shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: NDArray[Any] = session.run(None, {"x": x})[0]
    return found
