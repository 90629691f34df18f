"""Codes: 8-bit QDQ files: quantizers of maps, and layers whose weights are codes.

Ours are symmetric: codes of maps count from zero (unsigned) or around zero (signed) in one step a
map, codes of weights go from -127 to 127 in one step for each output channel. What a file has
beyond that cannot be held exactly, and is refused or computed in float32, and said.

Shape letters: O output channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from latency_models.onnx.reading.reader import (
    Array,
    CodedConstant,
    Reader,
    attributes,
)
from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import INPUT

FLOAT_REMEDY = "import the float32 file and run `nas quantize`"
REMEDY = (
    "quantize it with symmetric maps and weights (ONNX Runtime: ActivationSymmetric and "
    f"WeightSymmetric), or {FLOAT_REMEDY}"
)
LARGEST_WEIGHT = 127
# By type of zero point and its number: whether codes are signed.
GRIDS = {("uint8", 0): False, ("uint8", 128): True, ("int8", 0): True, ("int8", -128): False}


@dataclass(frozen=True, slots=True)
class CodedWeight:
    """The weights of a layer as codes.

    Attributes:
        codes: As whole numbers (O, ...).
        step: What one counts, (O,).
    """

    codes: NDArray[np.int64]
    step: NDArray[np.float32]

    def arrays(self, weight: Array, bias: Array | None) -> dict[str, Array]:
        """Returns the arrays of a deployed layer whose weights have the shape of `weight`."""
        count = len(self.codes)
        each = self.step.reshape(-1, *(1,) * (weight.ndim - 1))
        return {
            "weight": self.codes.reshape(weight.shape).astype(np.float32) * each,
            "weight.step": self.step,
            "gain": np.ones(count, np.float32),
            "bias": np.zeros(count, np.float32) if bias is None else bias.reshape(-1),
        }


def read_quantize(reader: Reader, node: NodeProto) -> None:
    """Reads a quantizer: of a map, as one of ours; a constant becomes codes."""
    scale = np.asarray(reader.constant(node, 1), np.float32)
    zero = reader.optional(node, 2)
    kind = "uint8" if zero is None else str(np.asarray(zero).dtype)
    if zero is None and int(attributes(node).get("output_dtype", 0)):
        reader.fails(node, f"has no zero point to tell its type by; {REMEDY}")
    if reader.is_constant(node, 0):
        reader.fails(node, "quantizes a constant, which was to be folded; simplify the file first")
    if scale.size != 1:
        reader.fails(node, f"has {scale.size} steps for one map, and one is held here; {REMEDY}")
    point = 0 if zero is None else int(np.asarray(zero).reshape(-1)[0])
    if (kind, point) not in GRIDS:
        reader.fails(
            node,
            f"has {kind} codes around {point}, and 8-bit codes around 0 (or uint8 around 128) are "
            f"held here; {REMEDY}",
        )
    view = reader.settled(node, reader.view(node))
    operator = ops.Quantize(8, GRIDS[kind, point])
    step = np.float32(scale.reshape(-1)[0])
    name = quantized_already(reader, view.map, operator, step) or reader.add(
        node, operator, view.map, arrays={"step": np.array(step)}, is_result=False
    )
    reader.put(node, view.of(name))


def quantized_already(
    reader: Reader, name: str, operator: ops.Quantize, step: np.float32
) -> str | None:
    """Returns a map itself where it is on the grid of a quantizer already."""
    made = quantizer_of(reader, name)
    if made is None or reader.draft.operator(made) != operator:
        return None
    return name if reader.draft.nodes[made].arrays["step"] == step else None


def read_dequantize(reader: Reader, node: NodeProto) -> None:
    """Reads what makes numbers of codes: of a map, nothing; of a constant, its numbers."""
    scale = np.asarray(reader.constant(node, 1), np.float32)
    zero = reader.optional(node, 2)
    if not reader.is_constant(node, 0):
        view = reader.view(node)
        made = quantizer_of(reader, view.map)
        if made is None or scale.size != 1 or reader.draft.nodes[made].arrays["step"] != scale:
            reader.fails(node, f"reads codes by another step than they were made with; {REMEDY}")
        reader.put(node, view)
        is_named = reader.draft.nodes[made].origin.value != ""
        if not is_named and view.map == made and node.output[0] in reader.written:
            reader.name_value(made, node.output[0])
        return
    codes, has = reader.constant(node, 0), attributes(node)
    if has.get("block_size", 0):
        reader.fails(node, "has weights in blocks, each of a step of its own; " + REMEDY)
    axis = int(has.get("axis", 1)) % max(codes.ndim, 1)
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    whole = codes.astype(np.int64)
    if zero is not None:
        whole = whole - np.asarray(zero).astype(np.int64).reshape(shape if zero.size > 1 else [1])
        whole = whole.reshape(codes.shape)
    numbers = (whole.astype(np.float32) * scale.reshape(shape)).reshape(codes.shape)
    reader.coded[node.output[0]] = CodedConstant(whole, scale.reshape(-1), axis)
    reader.put(node, numbers)


def quantizer_of(reader: Reader, name: str) -> str | None:
    """Returns the quantizer on whose grid a map's numbers are, by operators that only move."""
    while name != INPUT:
        node = reader.draft.nodes[name]
        if isinstance(node.operator, ops.Quantize):
            return name
        if not isinstance(node.operator, MOVES):
            return None
        name = node.inputs[0]
    return None


MOVES = (ops.ChannelSplit, ops.ChannelShuffle, ops.MaxPool)


def coded_weight(
    reader: Reader, node: NodeProto, index: int, source: str, axis: int = 0
) -> CodedWeight | None:
    """Returns a layer's weights as codes, where it reads codes; None where it computes in float32.

    Args:
        source: The map that the layer reads.
        axis: Of the output channels.
    """
    coded = reader.coded.get(node.input[index])
    if coded is None:
        return None
    made = reader.draft.operator(source)
    while isinstance(made, ops.ChannelSplit):
        source = reader.draft.nodes[source].inputs[0]
        made = reader.draft.operator(source)
    why = ""
    if not isinstance(made, ops.Quantize):
        why = "the map it reads has none"
    elif coded.scale.size > 1 and coded.axis != axis:
        why = "their steps are not those of output channels"
    elif np.abs(coded.codes).max() > LARGEST_WEIGHT:
        why = f"they reach {np.abs(coded.codes).max()}, and {LARGEST_WEIGHT} is held here"
    elif coded.scale.min() <= 0:
        why = "a step of them is not positive"
    if why:
        reader.note(f"{reader.origin(node)}: its weights are codes, but {why}: it is float32")
        return None
    codes = np.moveaxis(coded.codes, axis, 0)
    return CodedWeight(codes, np.broadcast_to(coded.scale, len(codes)).astype(np.float32))
