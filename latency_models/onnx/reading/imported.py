"""Imported: an ONNX file as a model of ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from latency_models.onnx.drafts.draft import Draft, UnreadableError
from latency_models.onnx.drafts.finish import finished
from latency_models.onnx.drafts.views import MapView, whole
from latency_models.onnx.float32 import in_float32
from latency_models.onnx.reading.codes import FLOAT_REMEDY
from latency_models.onnx.reading.interface import Interface, batch_of, fixed, interface_of
from latency_models.onnx.reading.opened import opened
from latency_models.onnx.reading.reader import Reader
from latency_models.onnx.reading.simplified import of_one_picture, simplified
from latency_models.onnx.reading.table import (
    KINDS_OF_NETWORKS,
    READERS,
    is_known_gap,
    known_operator,
    remedy,
)
from search_spaces.graphs.errors import MistakesError, UserError, one_line
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.model import Model

MOST_TOLD = 10  # of the operators that a file has and nothing reads


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A file as a model, not compared with it yet.

    Attributes:
        interface: What the file takes and gives.
        notes: What was left out or is computed otherwise, a line each.
        proto: The file for one picture in float32, as ONNX Runtime runs it.
        output: The value of the file that the model gives: its output, or that before a softmax.
        values: For nodes of the model, the values of the file whose numbers their maps hold.
        places: For these values and the output, where each of their numbers lies in the map.
    """

    model: Model
    interface: Interface
    notes: tuple[str, ...]
    proto: onnx.ModelProto
    output: str
    values: Mapping[str, str]
    places: Mapping[str, np.ndarray]


def import_onnx(path: Path, input_shape: Sequence[int] | None = None) -> ImportedModel:
    """Returns the model in an ONNX file.

    Args:
        input_shape: Of one picture as the file takes it, where the file leaves its size open.

    Raises:
        UserError: If the file is no ONNX, damaged, too large or too new, is no classifier of
            pictures, or has operators for which there are none here.
    """
    proto = opened(path)
    try:
        return read_model(proto, input_shape)
    except MistakesError as error:
        raise MistakesError(*(f"{path}: {line}" for line in error.args)) from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_model(proto: onnx.ModelProto, input_shape: Sequence[int] | None) -> ImportedModel:
    """Returns the model in a file that is loaded; see `import_onnx`."""
    refuse_kinds(proto)
    refuse_known_gaps(proto)
    types = in_float32(proto)
    interface = interface_of(proto, input_shape)
    if (batch := batch_of(proto, interface)) > 1:
        proto = of_one_picture(fixed(proto, interface, batch), batch)
    whole_file = fixed(proto, interface)
    file = simplified(whole_file)
    refuse_unknown(file)
    reader = Reader(Draft(interface.shape), opset_of(file))
    reader.names = names_of_weights(file)
    reader.written = frozenset(name for node in whole_file.graph.node for name in node.output)
    if types:
        reader.note(f"its numbers are {', '.join(types)}: they became float32")
    if whole_file.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8:
        reader.note("its input is bytes: here it is the same numbers as float32, from 0 to 255")
    for name in interface.unread:
        reader.note(f"the input {name!r} is read by nothing and left out")
    axes = (0, 1, 2, 3) if interface.layout == "NCHW" else (0, 2, 3, 1)
    given = whole(INPUT, interface.shape)
    reader.values[interface.input] = given.moved(given.positions.transpose(axes))
    reader.values |= {each.name: numpy_helper.to_array(each) for each in file.graph.initializer}
    output = value_before_softmax(file, interface.output)
    reader.last_softmax = output.softmax
    with np.errstate(all="ignore"):  # what is no number is found where weights end up
        try:
            made = finished(drafted(reader, file, output.value))
        except (UnreadableError, MistakesError) as error:
            has_codes = any(node.op_type == "QuantizeLinear" for node in file.graph.node)
            if has_codes and FLOAT_REMEDY not in str(error):
                raise MistakesError(*error.args, IN_PIECES) from None
            raise
    places = {
        name: view.positions
        for name in (*made.values.values(), output.value)
        if isinstance(view := reader.values.get(name), MapView)
    }
    return ImportedModel(
        made.model,
        interface,
        tuple(reader.notes),
        whole_file,
        output.value,
        made.values,
        places,
    )


def drafted(reader: Reader, file: onnx.ModelProto, output: str) -> Draft:
    """Returns what a file's nodes are here, up to the value that is to be given."""
    read_nodes(reader, file)
    result = reader.values[output]
    if not isinstance(result, MapView):
        raise UserError("its output does not depend on its input")
    reader.draft.output = settled_output(reader, result)
    return reader.draft


def refuse_kinds(proto: onnx.ModelProto) -> None:
    """Raises UserError if a network is of another kind than classifiers of pictures."""
    for node in proto.graph.node:
        if node.op_type in KINDS_OF_NETWORKS:
            raise UserError(
                f"this is {KINDS_OF_NETWORKS[node.op_type]}: {node.op_type} {shown_name(node)!r}; "
                "networks that classify pictures are read"
            )


def shown_name(node: NodeProto) -> str:
    return node.name or (node.output[0] if node.output else "")


def refuse_known_gaps(proto: onnx.ModelProto) -> None:
    """Raises an error for operators that nothing reads and that ONNX Runtime would take apart."""
    functions = {(each.domain, each.name) for each in proto.functions}
    refuse(
        node
        for node in proto.graph.node
        if (node.domain, node.op_type) not in functions and is_known_gap(node)
    )


def refuse_unknown(proto: onnx.ModelProto) -> None:
    """Raises an error for operators of a simplified file that nothing reads."""
    refuse(node for node in proto.graph.node if not known_operator(node))


def refuse(nodes: Iterable[NodeProto]) -> None:
    """Raises an error that names nodes, the first of each operator, where there are any."""
    unknown: dict[str, list[NodeProto]] = {}
    for node in nodes:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        unknown.setdefault(kind, []).append(node)
    lines = []
    for kind, nodes in list(unknown.items())[:MOST_TOLD]:
        more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        lines.append(
            f"{kind} {shown_name(nodes[0])!r}{more}: there is no such operator here; "
            f"{remedy(nodes[0])}"
        )
    raise_lines(lines)


def raise_lines(lines: Sequence[str]) -> None:
    if len(lines) > 1:
        raise MistakesError(*lines)
    if lines:
        raise UnreadableError(lines[0])


def opset_of(proto: onnx.ModelProto) -> int:
    return next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 1)


def names_of_weights(proto: onnx.ModelProto) -> dict[str, str]:
    """Returns what to call the nodes that read weights: ``layer1.0.conv1.weight`` names one."""
    found = {}
    for each in proto.graph.initializer:
        name, dot, last = each.name.rpartition(".")
        if dot and last in ("weight", "kernel", "w", "W") and name:
            found[each.name] = name
    return found


def read_nodes(reader: Reader, proto: onnx.ModelProto) -> None:
    """Reads every node; what cannot be read is told all at once.

    Raises:
        UserError: If some cannot.
    """
    wrong: list[str] = []
    for node in proto.graph.node:
        if any(name and name not in reader.values for name in node.input):
            continue  # behind a node that was not read
        if reader.last_softmax in reader.values and node.op_type in BEHIND_SOFTMAX:
            continue  # what turns shares into codes would turn logits into others
        try:
            if computes_constant(reader, node):
                fold_constant(reader, node)
            else:
                READERS[node.op_type](reader, node)
        except UnreadableError as error:
            wrong.append(str(error))
            if len(wrong) == MOST_TOLD:
                break
    raise_lines(wrong)


def computes_constant(reader: Reader, node: NodeProto) -> bool:
    return node.op_type != "DequantizeLinear" and not any(
        name and isinstance(reader.values[name], MapView) for name in node.input
    )


def fold_constant(reader: Reader, node: NodeProto) -> None:
    """Computes a node whose inputs are all known."""
    given = {name: reader.values[name] for name in node.input if name}
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.helper.make_empty_tensor_value_info(name) for name in given],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    opset = onnx.helper.make_opsetid("", reader.opset)
    try:
        model = onnx.helper.make_model(graph, opset_imports=[opset])
        results = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # whatever a damaged file makes it compute
        reader.fails(node, f"cannot be computed: {one_line(error)}")
    for name, result in zip((name for name in node.output if name), results, strict=True):
        reader.values[name] = np.asarray(result)


BEHIND_SOFTMAX = (
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"),
    *("QuantizeLinear", "DequantizeLinear"),
)
IN_PIECES = (
    "it is a quantized file, in which activations of several nodes have a quantizer behind each: "
    + FLOAT_REMEDY
)


@dataclass(frozen=True, slots=True)
class LastValue:
    """The value that a model is to give, and the softmax behind it that is left out, or ""."""

    value: str
    softmax: str = ""


def value_before_softmax(proto: onnx.ModelProto, output: str) -> LastValue:
    """Returns what a file gives before a softmax that only moves, and quantizers, may follow."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    name = output
    while (node := makers.get(name)) is not None:
        if node.op_type in ("Softmax", "LogSoftmax"):
            return LastValue(node.input[0], name)
        if node.op_type not in BEHIND_SOFTMAX:
            break
        name = node.input[0]
    return LastValue(output)


def settled_output(reader: Reader, result: MapView) -> str:
    """Returns the map that the network gives, in its order.

    Raises:
        UserError: If the output is no map, or in another order.
    """
    if result.is_in_order:
        return result.map
    node = onnx.helper.make_node("Identity", ["x"], ["y"], name="output")
    return reader.map(node, result)
