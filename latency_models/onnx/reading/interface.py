"""Interface: what a file takes and gives, for one picture of a fixed size.

The batch is fixed to one while the file is read; a model of ours takes any number. An input whose
channels come last, as TensorFlow's exporters write it, is turned in front of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Shape
from search_spaces.graphs.schema import shown

Layout = Literal["NCHW", "NHWC"]
PICTURE_TYPES = (TensorProto.FLOAT, TensorProto.UINT8)
FIRST = (
    "Cast",
    "Sub",
    "Mul",
    "Div",
    "Add",
    "Identity",
    "Clip",
    "QuantizeLinear",
    "DequantizeLinear",
)
MOST_SIDE, MOST_NUMBERS = 1 << 14, 1 << 26  # of an input


@dataclass(frozen=True, slots=True)
class Interface:
    """What a file takes and gives.

    Attributes:
        input: Name of its input.
        layout: Where the channels of its input are.
        shape: Of one picture, (C, H, W).
        output: Name of its output.
        unread: Inputs that nothing reads.
    """

    input: str
    layout: Layout
    shape: Shape
    output: str
    unread: tuple[str, ...] = ()

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """The shape of the file's input, for one picture."""
        channels, height, width = self.shape
        return (1, *self.shape) if self.layout == "NCHW" else (1, height, width, channels)


def interface_of(proto: onnx.ModelProto, input_shape: Sequence[int] | None) -> Interface:
    """Returns what a file takes and gives.

    Args:
        input_shape: Of one picture as the file takes it, with or without the batch; None takes
            what the file says.

    Raises:
        UserError: If there are several inputs or outputs, or the input is no picture or of a
            size that neither file nor caller tells.
    """
    name, unread = only_input(proto.graph)
    (info,) = (each for each in proto.graph.input if each.name == name)
    dims = dims_of(info, input_shape)
    layout: Layout = "NHWC" if is_turned(proto.graph, name) else "NCHW"
    first, second, third = dims[1:]
    shape = (first, second, third) if layout == "NCHW" else (third, first, second)
    return Interface(name, layout, shape, only_output(proto.graph), unread)


def only_input(graph: onnx.GraphProto) -> tuple[str, tuple[str, ...]]:
    """Returns the input's name, and those of inputs that nothing reads."""
    known = {tensor.name for tensor in graph.initializer}
    given = [info.name for info in graph.input if info.name not in known]
    read = names_read(graph)
    used = [name for name in given if name in read]
    if len(used) != 1:
        listed = ", ".join(map(shown, used[:5])) or "none"
        raise UserError(
            f"a network takes one input, a picture; this one has {len(used)} that are read "
            f"({listed}): cut the file so that one is left (onnx.utils.extract_model)"
        )
    return used[0], tuple(name for name in given if name not in read)


def names_read(graph: onnx.GraphProto) -> set[str]:
    """Returns the values that nodes read, those inside of branches included."""
    found = {info.name for info in graph.output}
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            found.update(node.input)
            graphs += [each.g for each in node.attribute if each.HasField("g")]
    return found


def only_output(graph: onnx.GraphProto) -> str:
    names = [info.name for info in graph.output]
    if len(names) != 1:
        listed = ", ".join(map(shown, names[:5])) or "none"
        raise UserError(
            f"a classifier gives one output; this file has {len(names)} ({listed}), as detection "
            "networks and those with auxiliary heads do: cut it so that one is left "
            "(onnx.utils.extract_model)"
        )
    return names[0]


def dims_of(info: onnx.ValueInfoProto, input_shape: Sequence[int] | None) -> tuple[int, ...]:
    """Returns the input's shape with a batch of one."""
    tensor = info.type.tensor_type
    name = shown(info.name)
    if tensor.elem_type not in PICTURE_TYPES:
        kind = (
            TensorProto.DataType.Name(tensor.elem_type)
            if tensor.elem_type in TensorProto.DataType.values()
            else "another type"
        )
        raise UserError(
            f"its input {name} holds {kind.lower()}, as sequence networks (text, bytes) take it; "
            "networks that classify pictures take float32 or uint8"
        )
    declared = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if tensor.HasField("shape") and len(declared) != 4:
        raise UserError(
            f"its input {name} has {len(declared)} axes, as sequence networks (text, sound) have; "
            "a picture has 4: batch, channels, height, width"
        )
    asked = None if input_shape is None else [int(each) for each in input_shape][-3:]
    if asked is None:
        if not declared or None in declared[1:]:
            axes = [dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim]
            raise UserError(
                f"its input {name} has the shape {axes}, whose size is not fixed; say it, e.g. "
                "--input-shape 3,224,224"
            )
        asked = [each for each in declared[1:] if each is not None]
    for size, fixed in zip(asked, declared[1:] or [None] * 3, strict=True):
        if fixed is not None and size != fixed:
            raise UserError(
                f"the input shape {tuple(asked)} does not fit the file, whose input {name} is "
                f"{[each or '?' for each in declared]}; sizes that it fixes cannot be changed"
            )
    if min(asked) < 1 or max(asked) > MOST_SIDE or asked[0] * asked[1] * asked[2] > MOST_NUMBERS:
        raise UserError(
            f"the input shape {tuple(asked)} must have three sizes from 1 to {MOST_SIDE}, and at "
            f"most {MOST_NUMBERS} numbers"
        )
    return (1, *asked)


def batch_of(proto: onnx.ModelProto, interface: Interface) -> int:
    """Returns how many pictures a file takes at once; 1 where it leaves that open."""
    (info,) = (each for each in proto.graph.input if each.name == interface.input)
    dims = info.type.tensor_type.shape.dim
    return max(1, dims[0].dim_value) if dims else 1


def is_turned(graph: onnx.GraphProto, name: str) -> bool:
    """Whether the channels of the input come last: it is turned before anything else reads it."""
    for node in graph.node:
        if name not in node.input:
            continue
        if node.op_type == "Transpose":
            axes = [list(each.ints) for each in node.attribute if each.name == "perm"]
            return axes == [[0, 3, 1, 2]]
        if node.op_type not in FIRST:
            return False
        name = node.output[0]
    return False


def fixed(proto: onnx.ModelProto, interface: Interface, batch: int = 1) -> onnx.ModelProto:
    """Returns the file for so many pictures, without the sizes that it states for others."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    kept = [info for info in graph.input if info.name == interface.input]
    del graph.input[:]
    graph.input.extend(kept)
    shape = graph.input[0].type.tensor_type.shape
    del shape.dim[:]
    for size in (batch, *interface.dims[1:]):
        shape.dim.add().dim_value = size
    for info in graph.output:
        info.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    made.ir_version = max(made.ir_version, 4)  # before it, arrays had to be inputs too
    return made
