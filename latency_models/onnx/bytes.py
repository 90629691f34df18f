"""Bytes: how the codes of maps and of weights are kept in an ONNX file.

Codes of maps are unsigned bytes from 0 on, whatever their quantizer. Weights are kept in as many
bits as they have: 8 in bytes, 4 in ONNX's UINT4 (opset 21), 2 and 1 packed into bytes, which
operators of the standard take apart. All of that is constant: a runtime does it once, when it
loads the file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Quantize

LARGEST_BYTE = 255
WEIGHT_ZERO = {8: 128, 4: 8, 2: 2, 1: 1}  # what is added to a weight's code to keep it unsigned


@dataclass(frozen=True, slots=True)
class Bytes:
    """How the codes of a quantizer are kept.

    Attributes:
        quantizer: Name of its node.
        step: What one code counts; 1 for signs.
        zero: The byte that stands for zero; what is added to a code.
        highest: The byte of the largest code; the least one is 0.
    """

    quantizer: str
    step: float
    zero: int
    highest: int


def bytes_of(model: Model, quantizer: str) -> Bytes:
    """Returns how the codes of a quantizer are kept."""
    operator = model.graph.node(quantizer).operator
    assert isinstance(operator, Quantize)
    step = 1.0 if operator.bits == 1 else float(np.float32(model.arrays[f"{quantizer}.step"]))
    return Bytes(quantizer, step, -operator.lowest, operator.highest - operator.lowest)


def packed_nibbles(name: str, codes: NDArray[np.uint8]) -> TensorProto:
    """Returns numbers from 0 to 15 as a UINT4 tensor: two in a byte, the first one low."""
    flat = codes.reshape(-1)
    even = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    data = (even[0::2] | even[1::2] << 4).astype(np.uint8).tobytes()
    return helper.make_tensor(name, TensorProto.UINT4, codes.shape, data, raw=True)
