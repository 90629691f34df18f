"""Agreement: whether a model computes what ONNX Runtime computes for its file.

Outputs may differ by `LIMIT` of the largest. Where they differ by more, the layers of both are
compared in their order, and the first that part are named: what is before them is right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from latency_models.onnx.model import versions, written
from latency_models.onnx.parity import LIMIT, ParityError
from latency_models.onnx.reading.imported import ImportedModel
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.model import Model, fold_batch_norm

Array = NDArray[np.float32]
Maps = Mapping[str, Array]  # by node, (1, C, H, W)
COPY = "a copy of value "  # which no file names one of its own
MOST_TOLD = 3  # of the layers that differ
# ONNX Runtime 1.31 makes zeros before a maximum its padding, which is no number: 0 is lost to -1.
WRONG_OPTIMIZERS = ["Pad_Fusion"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a model is from its file.

    Attributes:
        difference: The largest, as a share of the largest output of its picture.
        pictures: That were compared.
    """

    difference: float
    pictures: int


def pictures(shape: Sequence[int], are_bytes: bool = False) -> list[Array]:
    """Returns random inputs (1, C, H, W) as networks are given them: normalised, from 0 to 1, and
    smooth.

    Args:
        are_bytes: Whether they are to be whole numbers from 0 to 255.
    """
    rng = np.random.default_rng(0)
    size = (1, *shape)
    rows = np.linspace(-2, 2, shape[1])[:, None] + np.linspace(-1, 1, shape[2])
    smooth = rng.normal(size=(1, shape[0], 1, 1)) + rows * rng.normal(size=(1, shape[0], 1, 1))
    drawn = [rng.normal(size=size), rng.uniform(size=size), smooth]
    if are_bytes:
        drawn = [np.clip(np.rint(64 * each + 128), 0, 255) for each in drawn]
    return [np.ascontiguousarray(each, np.float32) for each in drawn]


def check_agreement(
    imported: ImportedModel, run: Callable[[Array], Maps], limit: float = LIMIT
) -> Agreement:
    """Returns how far a model is from its file, on random pictures.

    Args:
        run: Computes the maps of the model's nodes for a picture.

    Raises:
        ParityError: If an output differs by more than it may; the message names the layers.
    """
    largest, given = 0.0, pictures(imported.model.graph.input_shape, takes_bytes(imported))
    last = imported.model.graph.output.name
    for x in given:
        (expected,) = file_values(imported, x, [imported.output])
        if not np.isfinite(expected).all():
            raise UserError(
                "ONNX Runtime computes numbers for this file that are not finite; its weights are "
                "of a training that diverged, or it takes other inputs than pictures"
            )
        maps = run(x)
        found = difference(imported, imported.output, maps[last], expected)
        if not found <= limit:
            raise ParityError(
                f"it differs from what ONNX Runtime computes for the file by {found:.1e} of the "
                f"largest output, {limit:.0e} may be; {layers_that_differ(imported, maps, x)}; "
                "please report the file's operators there; nothing was imported"
            )
        largest = max(largest, found)
    return Agreement(largest, len(given))


def file_values(imported: ImportedModel, x: Array, names: Sequence[str]) -> list[Array]:
    """Returns values of the file for a picture (1, C, H, W), by ONNX Runtime.

    Codes are computed as the file says, one operation after the other: the integer kernels that
    ONNX Runtime fuses them into saturate on some processors.
    """
    import onnxruntime

    proto = onnx.ModelProto()
    proto.CopyFrom(imported.proto)
    del proto.graph.output[:]
    # Copies: what is an output itself, ONNX Runtime may rename (codes that two nodes read).
    copies = [f"{COPY}{index}" for index in range(len(names))]
    proto.graph.node.extend(
        onnx.helper.make_node("Identity", [name], [copy])
        for name, copy in zip(names, copies, strict=True)
    )
    proto.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, copies))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=WRONG_OPTIMIZERS,
        )
        results: list[Array] = session.run(None, {imported.interface.input: as_given(imported, x)})
    except Exception as error:  # ONNX Runtime has one exception class per status code
        raise UserError(f"ONNX Runtime cannot run it: {one_line(error)}") from None
    return results


def as_given(imported: ImportedModel, x: Array) -> NDArray[np.generic]:
    """Returns a picture in the layout and type that the file takes."""
    turned = x if imported.interface.layout == "NCHW" else x.transpose(0, 2, 3, 1)
    if takes_bytes(imported):
        return turned.astype(np.uint8)
    return np.ascontiguousarray(turned)


def takes_bytes(imported: ImportedModel) -> bool:
    kind = imported.proto.graph.input[0].type.tensor_type.elem_type
    return bool(kind == onnx.TensorProto.UINT8)


def difference(imported: ImportedModel, value: str, ours: Array, theirs: Array) -> float:
    """Returns how far a map is from a value, as a share of its largest number."""
    places = imported.places.get(value)
    flat = np.asarray(ours, np.float64).reshape(-1)
    expected = np.asarray(theirs, np.float64).reshape(-1)
    if places is not None:
        order = places.reshape(-1)
        if order.max() >= len(flat):
            return np.inf
        flat = np.where(order < 0, 0.0, flat[order])
    if len(flat) != len(expected):
        return np.inf
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(flat - expected).max()) / scale


def layers_that_differ(imported: ImportedModel, maps: Maps, x: Array) -> str:
    """Returns in words the first layers of a model that differ from the file."""
    known = {value.name for value in imported.proto.graph.output}
    known |= {name for node in imported.proto.graph.node for name in node.output}
    nodes = {node: value for node, value in imported.values.items() if value in known}
    values = file_values(imported, x, list(nodes.values()))
    wrong = []
    for (node, value), expected in zip(nodes.items(), values, strict=True):
        found = difference(imported, value, maps[node], expected)
        if not found <= LIMIT:
            wrong.append(f"{node} (ONNX value {value!r}) by {found:.1e}")
    if not wrong:
        return "no layer but the last differs"
    return f"the first layers that differ: {', '.join(wrong[:MOST_TOLD])}"


def run_as_written(model: Model) -> Callable[[Array], Maps]:
    """Returns what computes the maps of a model's nodes as our own ONNX files do."""
    import onnxruntime

    file = written(fold_batch_norm(model), exact=True)
    names = [node.name for node in model.graph.nodes]
    values = [file.map(name) for name in names]
    shape = model.graph.input_shape
    graph = onnx.helper.make_graph(
        list(file.nodes.values()),
        "maps",
        [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, (1, *shape))],
        [onnx.helper.make_empty_tensor_value_info(value) for value in dict.fromkeys(values)],
        list(file.arrays.values()),
    )
    opset, ir_version = versions(file)
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir_version
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(x: Array) -> Maps:
        kept = list(dict.fromkeys(values))
        made = dict(zip(kept, session.run(kept, {INPUT: x}), strict=True))
        return {name: made[value] for name, value in zip(names, values, strict=True)}

    return run
