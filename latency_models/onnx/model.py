"""ONNX: a model written as an ONNX file, straight from its graph.

Source: ONNX operator schemas, https://onnx.ai/onnx/operators/, opset 18; files with weights of 4
bits need opset 21, which has a type for them.

The file takes ``input`` of shape (batch, C, H, W), float32, and gives
``logits`` of shape (batch, classes), or (batch, C, H, W) where a graph ends in a map. Arrays keep
the names they have in the model. Batch norm is folded and dropout left out, as deployed.
"""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import onnx
from onnx import helper

from latency_models.onnx.graph import OnnxGraph
from latency_models.onnx.operators import (
    write_activate,
    write_add,
    write_avg_pool,
    write_batch_norm,
    write_channel_shuffle,
    write_channel_split,
    write_concat,
    write_conv2d,
    write_dropout,
    write_global_avg_pool,
    write_layer_norm,
    write_linear,
    write_local_response_norm,
    write_magnitude,
    write_max_pool,
    write_scale,
)
from latency_models.onnx.quantized import (
    quantized,
    write_coded_conv2d,
    write_coded_linear,
    write_quantize,
)
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.formats import REAL, Formats
from search_spaces.graphs.graph import Node
from search_spaces.graphs.model import Model, fold_batch_norm
from search_spaces.graphs.precision import FP32, W8A8, Precision
from search_spaces.quantization.codes import check_accumulators, is_coded

OPSET, IR_VERSION = 18, 8  # the one that opset 18 came with: the oldest that every reader takes
OPSET_4_BITS, IR_VERSION_4_BITS = 21, 10
LAYERS = (ops.Conv2d, ops.Linear)


def onnx_model(
    model: Model,
    *,
    name: str = "network",
    metadata: Mapping[str, str] | None = None,
    exact: bool = False,
    batch: int | None = None,
) -> onnx.ModelProto:
    """Returns ``model`` as a checked ONNX model.

    Args:
        model: Weights and graph; its batch norms are folded first.
        name: The name of the ONNX graph.
        metadata: Written to the file's properties beside ``hwnas.version``,
            ``hwnas.input_shape`` and what ``precision_properties`` tells, for example class
            names or the input's normalisation.
        exact: Whether convolutions of precision w8a8 keep their float32 biases. They then give
            every bit of what our kernels give, on every processor, and take 2 to 4 times as long.
        batch: Images that the file takes at once; None takes any number.

    Raises:
        UnsupportedOperatorError: If a node has an operator that this export lacks.
        UserError: If a step is no positive number, or an integer sum could overflow.
    """
    model = fold_batch_norm(model)
    file = written(model, exact)
    opset, ir_version = versions(file)
    proto = helper.make_model(
        file.finish(name, batch),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
        producer_name="hwnas",
        producer_version=version("hwnas"),
    )
    properties = {
        "hwnas.version": version("hwnas"),
        "hwnas.input_shape": ",".join(map(str, model.graph.input_shape)),
    }
    properties |= precision_properties(file)
    helper.set_model_props(proto, properties | dict(metadata or {}))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def written(model: Model, exact: bool = False) -> OnnxGraph:
    """Returns the ONNX graph of a deployed model, before it is finished."""
    check_accumulators(model.graph)
    file = OnnxGraph(model, exact)
    formats = Formats(model.graph)
    for node in model.graph.nodes:
        write(file, node, only_codes(formats, node))
    return file


def versions(file: OnnxGraph) -> tuple[int, int]:
    """Returns the opset and the file format that a file needs."""
    if any(array.data_type == onnx.TensorProto.UINT4 for array in file.arrays.values()):
        return OPSET_4_BITS, IR_VERSION_4_BITS
    return OPSET, IR_VERSION


def precision_properties(file: OnnxGraph) -> dict[str, str]:
    """Returns what a file tells about the precisions of its layers, as JSON; {} for fp32.

    * ``hwnas.precisions``: the precision of each layer with weights;
    * ``hwnas.computed_as``: the numbers that ONNX Runtime multiplies there;
    * ``hwnas.storage_only``: the layers whose precision makes the file smaller, but not faster
      than w8a8, or than fp32 where w8a8 is computed as that;
    * ``hwnas.moved_codes``: for layers with integer biases, the share of codes that the rounding
      of biases is expected to move by one.
    """
    layers = [node for node in file.model.graph.nodes if isinstance(node.operator, LAYERS)]
    precisions: dict[str, Precision] = {n.name: n.operator.precision for n in layers}  # type: ignore[attr-defined]
    if set(precisions.values()) <= {FP32}:
        return {}
    computed = {name: file.computed.get(name, "float32") for name in precisions}
    storage_only = [
        name
        for name, precision in precisions.items()
        if precision not in (FP32, W8A8) or (precision == W8A8 and computed[name] != "int8")
    ]
    return {
        "hwnas.precisions": json.dumps({name: row.name for name, row in precisions.items()}),
        "hwnas.computed_as": json.dumps(computed),
        "hwnas.storage_only": json.dumps(storage_only),
        "hwnas.moved_codes": json.dumps(file.moved_codes),
    }


def only_codes(formats: Formats, node: Node) -> str | None:
    """Returns the quantizer, of two or more bits, as whose codes alone a map is read."""
    kept = formats.kept[node.name]
    if isinstance(node.operator, ops.Quantize) or len(kept) != 1 or kept[0] == REAL:
        return None
    return kept[0] if formats.quantizer(kept[0]).bits > 1 else None


def write(file: OnnxGraph, node: Node, quantizer: str | None) -> None:
    """Writes a node; ``quantizer`` is the one as whose codes alone its map is read, if so.

    Such a map becomes codes at once, before operators that move numbers.
    """
    operator = node.operator
    if isinstance(operator, ops.Conv2d) and is_coded(node):
        write_coded_conv2d(file, node, operator, quantizer)
    elif isinstance(operator, ops.Linear) and is_coded(node):
        write_coded_linear(file, node, operator)
    else:
        writer_of(node)(file, node, operator)
    if quantizer and node.name not in file.coded:
        value = file.map(node.name)
        file.coded[node.name] = quantized(file, f"{node.name}/codes", value, quantizer)


WRITERS: dict[type, Callable[[OnnxGraph, Node, Any], None]] = {
    ops.Conv2d: write_conv2d,
    ops.Linear: write_linear,
    ops.Add: write_add,
    ops.Concat: write_concat,
    ops.ChannelSplit: write_channel_split,
    ops.ChannelShuffle: write_channel_shuffle,
    ops.Scale: write_scale,
    ops.Activate: write_activate,
    ops.MaxPool: write_max_pool,
    ops.AvgPool: write_avg_pool,
    ops.GlobalAvgPool: write_global_avg_pool,
    ops.Dropout: write_dropout,
    ops.Quantize: write_quantize,
    ops.Magnitude: write_magnitude,
    ops.BatchNorm: write_batch_norm,
    ops.LayerNorm: write_layer_norm,
    ops.LocalResponseNorm: write_local_response_norm,
}


def writer_of(node: Node) -> Callable[[OnnxGraph, Node, Any], None]:
    kind = type(node.operator)
    if kind not in WRITERS:
        name = ops.OPERATOR_NAMES.get(kind, kind.__name__)
        raise UnsupportedOperatorError(f"ONNX export has no operator {name!r} ({node.name})")
    return WRITERS[kind]
