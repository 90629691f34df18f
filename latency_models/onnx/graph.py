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

from latency_models.onnx.bytes import LARGEST_BYTE, Bytes, bytes_of
from search_spaces.graphs.graph import INPUT, Node
from search_spaces.graphs.model import Model

OUTPUT = "logits"
FLOAT, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8


@dataclass(frozen=True, slots=True)
class Coded:
    """A map of codes.

    Attributes:
        value: The ONNX value that holds them as bytes, (batch, C, H, W).
        bytes: How they are to be read.
        numbers: The value that was quantized, where there is one.
    """

    value: str
    bytes: Bytes
    numbers: str | None = None


@dataclass(slots=True)
class OnnxGraph:
    """An ONNX graph while it is written.

    Attributes:
        exact: Whether no bias is rounded, and 8-bit maps stay unsigned.
        values: For each map of the model, the ONNX value that holds its numbers.
        coded: For each map that is kept as codes, these.
        flat: ONNX values of shape (batch, C) instead of (batch, C, H, W).
        nodes: By the value that each gives.
        computed: For each coded layer, the numbers that its products are made of.
        moved_codes: For layers with rounded biases, the share of codes that this moves by one.
    """

    model: Model
    exact: bool = False
    nodes: dict[str, onnx.NodeProto] = field(default_factory=dict)
    arrays: dict[str, onnx.TensorProto] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=lambda: {INPUT: INPUT})
    coded: dict[str, Coded] = field(default_factory=dict)
    flat: set[str] = field(default_factory=set)
    computed: dict[str, str] = field(default_factory=dict)
    moved_codes: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:  # noqa: ANN401
        """Adds one ONNX node for node ``name`` and returns the value that it gives.

        The value is called ``<name>/<kind>``; no node's name holds a slash. Asked for again, it
        is the same one.
        """
        value = f"{name}/{kind}"
        node = helper.make_node(kind, inputs, [value], name=value, **attributes)
        assert self.nodes.setdefault(value, node) == node, f"two values are called {value}"
        return value

    def constant(self, name: str, values: Sequence[int] | np.ndarray) -> str:
        """Adds an array, or a list of integers (int64), and returns its name; once a name."""
        array = values if isinstance(values, np.ndarray) else np.array(values, np.int64)
        return self.tensor(numpy_helper.from_array(np.asarray(array, order="C"), name))

    def tensor(self, tensor: onnx.TensorProto) -> str:
        """Adds an array that is written already and returns its name; once a name."""
        same = self.arrays.setdefault(tensor.name, tensor) == tensor
        assert same, f"two arrays are called {tensor.name}"
        return tensor.name

    def weights(self, node: Node) -> list[str]:
        """Adds the node's weight, and bias if it has one, and returns their names."""
        names = [f"{node.name}.{part}" for part in ("weight", "bias")]
        return [
            self.constant(name, self.model.arrays[name])
            for name in names
            if name in self.model.arrays
        ]

    def each(self, node: Node, array: str) -> str:
        """Adds an array of one number per channel, as it meets maps, and returns its name."""
        name = f"{node.name}.{array}"
        return self.constant(name, self.model.arrays[name].reshape(-1, 1, 1))

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
        coding = self.coded[name].bytes
        value = self.add("Cast", f"{name}/apart", [self.coded[name].value], to=FLOAT)
        if coding.zero:
            offset = self.constant(f"{name}/apart/zero", np.array(coding.zero, np.float32))
            value = self.add("Sub", f"{name}/apart", [value, offset])
        if coding.step == 1:
            return value
        return self.add("Mul", f"{name}/apart", [value, self.grid(coding)[0]])

    def signed(self, name: str) -> tuple[str, str]:
        """Returns the codes of a map as signed bytes, and the byte that stands for zero.

        On x86-64 with VNNI, ONNX Runtime 1.31 convolves signed maps twice as fast as unsigned
        ones; without, sums of 8-bit ones saturate, so that an exact file keeps them unsigned.
        """
        coded = self.coded[name]
        if self.exact and coded.bytes.highest == LARGEST_BYTE:
            return coded.value, self.grid(coded.bytes)[1]
        is_small = coded.bytes.highest < LARGEST_BYTE
        shifted = coded.bytes.zero - (0 if is_small else 128)
        zero = self.constant(f"{name}/signed/zero", np.array(shifted, np.int8))
        if is_small:
            return self.add("Cast", f"{name}/signed", [coded.value], to=INT8), zero
        inputs = [coded.numbers or self.map(name), self.grid(coded.bytes)[0], zero]
        return self.add("QuantizeLinear", f"{name}/signed", inputs), zero

    def grid(self, coding: Bytes) -> tuple[str, str]:
        """Adds what one code counts and the byte that stands for zero; returns their names."""
        return (
            self.constant(f"{coding.quantizer}.step", np.array(coding.step, np.float32)),
            self.constant(f"{coding.quantizer}/zero", np.array(coding.zero, np.uint8)),
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
        """Makes ``value`` the node's result: numbers, or codes where ``coding`` is given."""
        if coding:
            self.coded[node.name] = Coded(value, coding)
        else:
            self.values[node.name] = value

    def finish(self, name: str, batch: int | None = None) -> onnx.GraphProto:
        """Returns the ONNX graph, its last value called ``logits``, for a batch or for any."""
        graph = self.model.graph
        is_map = graph.output.shape[1:] != (1, 1)
        last = graph.output.name
        result = self.map(last) if is_map else self.vector(last)
        nodes = self.needed(result)
        nodes.append(helper.make_node("Identity", [result], [OUTPUT], name=OUTPUT))
        read = {value for node in nodes for value in node.input}
        return helper.make_graph(
            nodes,
            name,
            [value_info(INPUT, graph.input_shape, batch)],
            [value_info(OUTPUT, graph.output.shape if is_map else graph.output.shape[:1], batch)],
            [array for name, array in self.arrays.items() if name in read],
        )

    def needed(self, result: str) -> list[onnx.NodeProto]:
        """Returns the nodes on which ``result`` depends, in the order in which they were added.

        A map is there in several forms, of which some are read by nobody.
        """
        read, nodes = {result}, []
        for value, node in reversed(self.nodes.items()):
            if value in read:
                read.update(node.input)
                nodes.append(node)
        return nodes[::-1]


def value_info(name: str, shape: Sequence[int], batch: int | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, (batch or "batch", *shape))
