"""Bytes: in which bytes the codes of a map are kept in an ONNX file, and those of weights.

ONNX Runtime multiplies integers fast for some types only (measured on x86-64 with VNNI, ONNX
Runtime 1.31): a convolution of signed maps with unsigned weights, a matrix product of an unsigned
map. Others take up to 60 times as long, and some longer than float32.

Weights are kept in as many bits as they have: 8 in bytes, 4 in ONNX's UINT4 (opset 21), 2 and 1
packed into bytes, which standard operators take apart. All of that is constant, so that a runtime
does it once, when it loads the file.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from search_spaces.graph import Graph, Node
from search_spaces.model import Model
from search_spaces.operators import Conv2d, Linear, Quantize
from search_spaces.quantization import input_quantizer

Kind = Literal["int8", "uint8"]
UINT8_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Bytes:
    """How the codes of a quantizer are kept.

    Attributes:
        quantizer: Name of its node.
        kind: Type of one code.
        zero: The byte that stands for zero.
        scale: What one code counts: the quantizer's step, or 1 for signs.
        lowest: The byte of the least code.
        highest: The byte of the largest code.
    """

    quantizer: str
    kind: Kind
    zero: int
    scale: float
    lowest: int
    highest: int

    @property
    def is_narrow(self) -> bool:
        """Whether there are bytes that stand for no code."""
        return self.highest - self.lowest < UINT8_LIMIT - 1


def bytes_of(model: Model, quantizer: str) -> Bytes:
    """Returns how the codes of a quantizer are kept.

    Unsigned codes of 8 bits are shifted by -128 for convolutions. Where only linear layers read
    them, codes are unsigned.
    """
    operator = model.graph.node(quantizer).operator
    assert isinstance(operator, Quantize)
    kind: Kind = "uint8" if only_linear(model.graph, quantizer) else "int8"
    floor = 0 if kind == "uint8" else -128
    fits = floor <= operator.lowest and operator.highest < floor + UINT8_LIMIT
    zero = 0 if fits else floor - operator.lowest
    scale = 1.0 if operator.bits == 1 else float(np.float32(model.arrays[f"{quantizer}.step"]))
    return Bytes(quantizer, kind, zero, scale, operator.lowest + zero, operator.highest + zero)


def only_linear(graph: Graph, quantizer: str) -> bool:
    """Whether all layers that compute on the codes of a quantizer are linear."""
    readers = [node for node in graph.nodes if reads_codes(node)]
    kinds = {
        type(node.operator)
        for node in readers
        if input_quantizer(graph, node.inputs[0]).name == quantizer
    }
    return kinds == {Linear}


def reads_codes(node: Node) -> bool:
    operator = node.operator
    return isinstance(operator, Conv2d | Linear) and operator.precision.activations != "real"


def packed_nibbles(name: str, codes: NDArray[np.uint8]) -> TensorProto:
    """Returns numbers from 0 to 15 as a UINT4 tensor: two in a byte, the first one low."""
    flat = codes.reshape(-1)
    even = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    data = (even[0::2] | even[1::2] << 4).astype(np.uint8).tobytes()
    return helper.make_tensor(name, TensorProto.UINT4, codes.shape, data, raw=True)


def packed_bits(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Returns each row of numbers of so many bits in bytes, the first one lowest.

    >>> packed_bits(np.array([[3, 0, 1, 2, 1]], np.uint8), 2)
    array([[147,   1]], dtype=uint8)
    """
    rows, count = codes.shape
    each = 8 // bits
    padded = np.pad(codes, ((0, 0), (0, -count % each))).reshape(rows, -1, each)
    packed: NDArray[np.uint8] = (padded << np.arange(0, 8, bits)).sum(2).astype(np.uint8)
    return packed
