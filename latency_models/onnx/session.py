"""ONNX Runtime: runs ONNX models, bytes or file, with a stated number of threads.

Tensors are float32: ``input`` (batch, C, H, W), ``logits`` (batch, classes).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError, one_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, OrtValue

Array = NDArray[np.float32]


def open_session(
    model: bytes | Path, *, threads: int = 1, spinning: bool = True
) -> "InferenceSession":
    """Returns a session on the CPU with every graph optimisation switched on.

    Args:
        model: A serialised model, or the path of one.
        threads: Threads that one operator may use.
        spinning: Whether idle threads of the session's pool wait by spinning.

    Raises:
        UserError: If ONNX Runtime cannot load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has one exception class per status code
        what = "the model" if isinstance(model, bytes) else str(model)
        raise UserError(f"ONNX Runtime cannot load {what}: {one_line(error)}") from None


def run_session(session: "InferenceSession", x: Array) -> Array:
    """Returns the first output of ``session`` for ``x``."""
    (name,) = (value.name for value in session.get_inputs())
    result: Array = session.run(None, {name: np.ascontiguousarray(x, np.float32)})[0]
    return result


def bound_call(session: "InferenceSession", x: Array) -> Callable[[], "OrtValue"]:
    """Returns a call that runs ``session`` on ``x`` and gives the result once it is there.

    Input and output stay in buffers of their own, so that timing it counts inference and no
    copies.
    """
    from onnxruntime import OrtValue

    binding = session.io_binding()
    array = np.ascontiguousarray(x, np.float32)
    given = OrtValue.ortvalue_from_numpy(array)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, given)
    # Of memory of its own: one made from an array is worth nothing once the array is gone.
    shape = list(run_session(session, x).shape)
    result = OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, result)

    # The buffers must live as long as the call that uses them.
    def call(array: Array = array, given: OrtValue = given, result: OrtValue = result) -> OrtValue:
        session.run_with_iobinding(binding)
        return result

    return call
