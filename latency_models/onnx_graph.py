"""An ONNX graph while it is written: nodes, arrays, and which value holds which map.

A value is (batch, C, H, W), or (batch, C) after a linear layer; either form is made where it is
asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from search_spaces.graph import INPUT, Node
from search_spaces.model import Model

OUTPUT = "logits"


@dataclass(slots=True)
class OnnxGraph:
    """An ONNX graph while it is written.

    Attributes:
        values: For each map of the model, the ONNX value that holds it.
        flat: ONNX values of shape (batch, C) instead of (batch, C, H, W).
    """

    model: Model
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=lambda: {INPUT: INPUT})
    flat: set[str] = field(default_factory=set)

    def add(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:  # noqa: ANN401
        """Adds one ONNX node for node ``name`` and returns the value that it gives.

        The value is called ``<name>/<kind>``; no node's name holds a slash.
        """
        value = f"{name}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, [value], name=value, **attributes))
        return value

    def constant(self, name: str, values: Sequence[int] | np.ndarray) -> str:
        """Adds an array (float32) or a list of integers (int64) and returns its name."""
        array = values if isinstance(values, np.ndarray) else np.array(values, np.int64)
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weights(self, node: Node) -> list[str]:
        """Adds the node's weight, and bias if it has one, and returns their names."""
        names = [f"{node.name}.{part}" for part in ("weight", "bias")]
        return [
            self.constant(name, self.model.arrays[name])
            for name in names
            if name in self.model.arrays
        ]

    def map(self, name: str) -> str:
        """Returns the value of a map as (batch, C, H, W)."""
        value = self.values[name]
        if value not in self.flat:
            return value
        axes = self.constant(f"{name}/axes", (2, 3))
        self.values[name] = self.add("Unsqueeze", name, [value, axes])
        return self.values[name]

    def vector(self, name: str) -> str:
        """Returns the value of a map as (batch, C * H * W)."""
        value = self.values[name]
        return value if value in self.flat else self.add("Flatten", name, [value])

    def maps(self, node: Node) -> list[str]:
        return [self.map(name) for name in node.inputs]

    def put(self, node: Node, value: str) -> None:
        """Makes ``value`` the node's result."""
        self.values[node.name] = value

    def finish(self, name: str) -> onnx.GraphProto:
        """Returns the ONNX graph, its last value called ``logits``."""
        graph = self.model.graph
        is_map = graph.output.shape[1:] != (1, 1)
        last = graph.output.name
        result = self.map(last) if is_map else self.vector(last)
        self.nodes.append(helper.make_node("Identity", [result], [OUTPUT], name=OUTPUT))
        return helper.make_graph(
            self.nodes,
            name,
            [value_info(INPUT, graph.input_shape)],
            [value_info(OUTPUT, graph.output.shape if is_map else graph.output.shape[:1])],
            self.arrays,
        )


def value_info(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("batch", *shape))
