"""An ONNX graph while it is written: nodes, arrays, and which value holds which map.

A value is (batch, C, H, W), or (batch, C) after a linear layer; either form is made where it is
asked for. A map of codes is a value of bytes, and its numbers are made where they are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from latency_models.onnx_bytes import Bytes, bytes_of
from search_spaces.graph import INPUT, Node
from search_spaces.model import Model

OUTPUT = "logits"
FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True, slots=True)
class Coded:
    """A map of codes: an ONNX value of bytes (batch, C, H, W), and how they are to be read."""

    value: str
    bytes: Bytes


@dataclass(slots=True)
class OnnxGraph:
    """An ONNX graph while it is written.

    Attributes:
        values: For each map of the model, the ONNX value that holds its numbers.
        coded: For each map that is kept as codes, these.
        flat: ONNX values of shape (batch, C) instead of (batch, C, H, W).
        names: Of the arrays.
        computed: For each node with weights, the numbers that its products are made of.
    """

    model: Model
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=lambda: {INPUT: INPUT})
    coded: dict[str, Coded] = field(default_factory=dict)
    flat: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    computed: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:  # noqa: ANN401
        """Adds one ONNX node for node ``name`` and returns the value that it gives.

        The value is called ``<name>/<kind>``; no node's name holds a slash.
        """
        value = f"{name}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, [value], name=value, **attributes))
        return value

    def constant(self, name: str, values: Sequence[int] | np.ndarray) -> str:
        """Adds an array, or a list of integers (int64), and returns its name; once a name."""
        array = values if isinstance(values, np.ndarray) else np.array(values, np.int64)
        return self.tensor(numpy_helper.from_array(np.asarray(array, order="C"), name))

    def tensor(self, tensor: onnx.TensorProto) -> str:
        """Adds an array that is written already and returns its name; once a name."""
        if tensor.name not in self.names:
            self.names.add(tensor.name)
            self.arrays.append(tensor)
        return tensor.name

    def weights(self, node: Node) -> list[str]:
        """Adds the node's weight, and bias if it has one, and returns their names."""
        names = [f"{node.name}.{part}" for part in ("weight", "bias")]
        return [
            self.constant(name, self.model.arrays[name])
            for name in names
            if name in self.model.arrays
        ]

    def map(self, name: str) -> str:
        """Returns the value of a map's numbers, as (batch, C, H, W)."""
        if name not in self.values:
            coded = self.coded[name]
            inputs = [coded.value, *self.grid(coded.bytes)]
            self.values[name] = self.add("DequantizeLinear", name, inputs)
        value = self.values[name]
        if value not in self.flat:
            return value
        axes = self.constant(f"{name}/axes", (2, 3))
        self.values[name] = self.add("Unsqueeze", name, [value, axes])
        return self.values[name]

    def apart(self, name: str) -> str:
        """Returns the numbers of a map, by other means than dequantization.

        ONNX Runtime computes a layer on integers of its own choice where it finds its numbers
        between dequantization and quantization; layers of real numbers stay out of that.
        """
        if name not in self.coded:
            return self.map(name)
        coded = self.coded[name]
        scale, zero = coded.bytes.scale, coded.bytes.zero
        value = self.add("Cast", f"{name}/apart", [coded.value], to=FLOAT)
        if zero:
            offset = self.constant(f"{name}/apart/zero", np.array(zero, np.float32))
            value = self.add("Sub", f"{name}/apart", [value, offset])
        if scale == 1:
            return value
        return self.add("Mul", f"{name}/apart", [value, self.grid(coded.bytes)[0]])

    def grid(self, coding: Bytes) -> tuple[str, str]:
        """Adds what one code counts and the byte that is zero, and returns their names."""
        kind = np.dtype(coding.kind).name
        return (
            self.constant(f"{coding.quantizer}.step", np.array(coding.scale, np.float32)),
            self.constant(f"{coding.quantizer}/zero", np.array(coding.zero, kind)),
        )

    def bytes_of(self, quantizer: str) -> Bytes:
        """Returns how the codes of a quantizer are kept."""
        return bytes_of(self.model, quantizer)

    def vector(self, name: str) -> str:
        """Returns the value of a map's numbers, as (batch, C * H * W)."""
        value = self.values.get(name)
        if value is not None and value in self.flat:
            return value
        return self.add("Flatten", name, [self.map(name)])

    def maps(self, node: Node) -> list[str]:
        return [self.map(name) for name in node.inputs]

    def moved(self, node: Node) -> tuple[list[str], Bytes | None]:
        """Returns what a node reads that only moves numbers: codes of one quantizer, or numbers.

        The second result says how the codes are to be read.
        """
        coded = [self.coded.get(name) for name in node.inputs]
        codings = {one.bytes if one else None for one in coded}
        if len(codings) == 1 and (coding := codings.pop()):
            return [one.value for one in coded if one], coding
        return self.maps(node), None

    def put(self, node: Node, value: str, coding: Bytes | None = None) -> None:
        """Makes ``value`` the node's result: numbers, or codes where it is said how they are kept."""
        if coding:
            self.coded[node.name] = Coded(value, coding)
        else:
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
