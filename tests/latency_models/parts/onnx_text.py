"""ONNX files as text, with random weights: what is read is held against what they compute."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper, parser

from latency_models.onnx.reading.agreement import check_agreement, run_as_written
from latency_models.onnx.reading.imported import ImportedModel, read_model
from search_spaces.graphs.graph import Node

Shapes = Mapping[str, Sequence[int] | np.ndarray | float | int]


def onnx_file(
    body: str,
    shape: Sequence[int] = (3, 8, 8),
    opset: int = 18,
    **arrays: Any,  # noqa: ANN401  (an array, a number, or the shape of a random one)
) -> ModelProto:
    """Returns a file whose nodes read ``x``, (1, C, H, W), and give ``y``.

    Args:
        arrays: Its weights by name: random ones of a shape, or an array or number itself.
    """
    sizes = ",".join(map(str, (1, *shape)))
    proto = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
        f"net (float[{sizes}] x) => (float[] y) {{\n{body}\n}}"
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name, given in arrays.items():
        proto.graph.initializer.append(numpy_helper.from_array(array_of(given, name, rng), name))
    return proto


def array_of(given: Any, name: str, rng: np.random.Generator) -> np.ndarray:  # noqa: ANN401
    if not isinstance(given, tuple):
        array = np.asarray(given)
        return array.astype(np.float32) if array.dtype == np.float64 else array
    if name.startswith(("gamma", "var")):
        return rng.uniform(0.5, 2, given).astype(np.float32)
    scale = np.sqrt(2 / np.prod(given[1:])) if len(given) > 1 else 0.3
    return rng.normal(0, scale, given).astype(np.float32)


def imported(proto: ModelProto, input_shape: Sequence[int] | None = None) -> ImportedModel:
    """Returns what is read, which computes what ONNX Runtime computes for the file."""
    found = read_model(proto, input_shape)
    check_agreement(found, run_as_written(found.model))
    return found


def nodes_of(body: str, **given: Any) -> list[Node]:  # noqa: ANN401
    """Returns the nodes that are read from a file; see `onnx_file`."""
    return list(imported(onnx_file(body, **given)).model.graph.nodes)


def operators_of(body: str, **given: Any) -> list[str]:  # noqa: ANN401
    """Returns in a word what each node is that is read: its operator, and its activation."""
    return [word(node) for node in nodes_of(body, **given)]


def word(node: Node) -> str:
    kind = type(node.operator).__name__
    activation = getattr(node.operator, "activation", "none")
    return kind if activation == "none" else f"{kind} {activation}"
