"""Float32: a file of other real numbers (16 bits, 64 bits) as one of float32."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

OTHERS: dict[int, str] = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
TYPED = ("to", "dtype", "output_dtype")  # attributes that name a type


def in_float32(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Turns a model's other real numbers into float32; returns the names of the types it had."""
    found: set[int] = set()
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        for info in (*graph.input, *graph.output, *graph.value_info):
            tensor = info.type.tensor_type
            if tensor.elem_type in OTHERS:
                found.add(tensor.elem_type)
                tensor.elem_type = TensorProto.FLOAT
        convert(graph.initializer, found)
        for attribute in (each for node in graph.node for each in node.attribute):
            if attribute.HasField("t"):
                convert((attribute.t,), found)
            convert(attribute.tensors, found)
            if attribute.name in TYPED and attribute.i in OTHERS:
                found.add(attribute.i)
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("g"):
                graphs.append(attribute.g)
            graphs.extend(attribute.graphs)
    return tuple(sorted(OTHERS[kind] for kind in found))


def convert(tensors: Iterable[TensorProto], found: set[int]) -> None:
    for tensor in tensors:
        if tensor.data_type in OTHERS:
            found.add(tensor.data_type)
            with np.errstate(over="ignore"):  # infinite weights are found where they are read
                array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
