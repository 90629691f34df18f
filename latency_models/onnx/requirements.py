"""Requirements: what a runtime must know to run an ONNX file.

ONNX Runtime's least version was found by loading files of every precision in version after
version; what decides is the operator that it learnt last.
"""

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

EVERY = (1, 15)  # files of opset 18
SIGNED_MAPS = (1, 24)  # ConvInteger of signed bytes
FOUR_BITS = (1, 23)  # constants of UINT4


@dataclass(frozen=True, slots=True)
class Requirements:
    """What an ONNX file asks for.

    Attributes:
        opset: The version of the standard's operators.
        ir_version: The version of the file format.
        onnxruntime: The least ONNX Runtime.
        batch: Images at once; None where any number is taken.
    """

    opset: int
    ir_version: int
    onnxruntime: str
    batch: int | None


def requirements(proto: onnx.ModelProto) -> Requirements:
    """Returns what a file that ``onnx_model`` made asks for."""
    (opset,) = proto.opset_import
    needs = [EVERY]
    if any(array.data_type == TensorProto.UINT4 for array in proto.graph.initializer):
        needs.append(FOUR_BITS)
    if convolves_signed_maps(proto.graph):
        needs.append(SIGNED_MAPS)
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None
    version = ".".join(map(str, max(needs)))
    return Requirements(opset.version, proto.ir_version, version, batch)


def file_requirements(path: Path) -> Requirements:
    """Returns what the file at ``path`` asks for; see ``requirements``."""
    return requirements(onnx.load(path))


def convolves_signed_maps(graph: onnx.GraphProto) -> bool:
    kinds = {array.name: array.data_type for array in graph.initializer}
    zeros = (node.input[2] for node in graph.node if node.op_type == "ConvInteger")
    return any(kinds[zero] == TensorProto.INT8 for zero in zeros)
