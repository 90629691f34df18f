"""Reference kernel: fixed work whose time tells how much of the machine a reading really had.

It is one matrix product in ONNX Runtime (about half a millisecond, within the second-level
cache), with as many threads as the device. The best time ever seen is kept per machine in the
cache folder: later readings compare with it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latency_models.boards.timing import Block, block_of
from latency_models.devices.folders import cache_folder, replacing
from latency_models.devices.host import cpu_name
from latency_models.onnx.session import bound_call, open_session
from search_spaces.graphs.schema import parse_json

if TYPE_CHECKING:
    from onnxruntime import OrtValue

SIDE = 384


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference kernel on one machine.

    Attributes:
        path: Where its best time there is kept.
    """

    block: Block
    path: Path


def local_reference(threads: int) -> Reference:
    """Returns the reference kernel on this machine."""
    return Reference(block_of(reference_call(threads)), calibration_path(cpu_name(), threads))


def reference_call(threads: int) -> Callable[[], "OrtValue"]:
    """Returns a call that runs the reference kernel once and gives its product."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (SIDE, SIDE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (SIDE, SIDE))],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="hwnas"
    )
    # Threads that spin after the kernel would steal time from the network that is timed next.
    session = open_session(model.SerializeToString(), threads=threads, spinning=False)
    return bound_call(session, weight)


def calibration_path(cpu: str, threads: int) -> Path:
    """Returns the file that keeps the best time for this processor and kernel."""
    import onnxruntime

    return kept_at(cpu, threads, onnxruntime.__version__, SIDE)


def kept_at(*conditions: object) -> Path:
    """Returns the file that keeps the best time under these conditions."""
    text = json.dumps(conditions)
    return cache_folder() / "reference" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def best_reference_ms(path: Path) -> float | None:
    """Returns the best time kept in ``path``; None where there is none, or none that is whole."""
    try:
        best = float(parse_json(path.read_text("utf-8"))["best_ms"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return best if 0 < best < float("inf") else None


def keep_best_reference(path: Path, reference_ms: float) -> None:
    """Keeps ``reference_ms`` if it is the best so far."""
    best = best_reference_ms(path)
    if best is not None and best <= reference_ms:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps({"best_ms": reference_ms}) + "\n", "utf-8")
