"""Predictions: models of profiled devices by name, and their answers as JSON.

The command line and the HTTP service both go through here, so that they say the same.
"""

from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from typing import Any

from latency_models.devices.latency import Latency, to_json
from latency_models.prediction.model_file import no_model, profiled_devices
from latency_models.prediction.predictor import Explanation, Predictor
from latency_models.transfer.model import load_latency_model
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import from_json

NO_DEVICE = (
    "no device has a latency model; make one with nas device profile NAME --space SPACE.yaml"
)
LARGEST = 2**40  # numbers in one map or array; beyond, sums of products leave the range of floats


def profiled_model(device: str) -> Predictor:
    """Returns the latency model of a device; a name is looked up before it becomes a path.

    Raises:
        UserError: If the device was never profiled; the message lists those that were.
    """
    check_profiled(device, profiled_devices())
    return load_latency_model(device)


def check_profiled(device: str, profiled: tuple[str, ...]) -> None:
    """Raises UserError if ``device`` is not among the profiled ones."""
    if device not in profiled:
        raise no_model(device, profiled)


def read_architecture(data: Mapping[str, Any]) -> Graph:
    """Returns the graph of an architecture that came from elsewhere as JSON.

    Raises:
        UserError: If it is no valid architecture, whatever is wrong with it.
    """
    try:
        graph = from_json(data).graph
        check_sizes(graph)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None
    except (ArithmeticError, LookupError, TypeError) as error:
        raise UserError(f"the architecture is damaged: {type(error).__name__} {error}") from None
    return graph


def check_sizes(graph: Graph) -> None:
    """Raises UserError if a map or array has no size that a computer could hold."""
    for name, shape in (*graph.shapes.items(), *graph.array_shapes().items()):
        if any(type(size) is not int for size in shape):
            raise UserError(f"{name}: sizes must be whole numbers, got {shape}")
        if prod(shape) > LARGEST:
            raise UserError(f"{name}: at most {LARGEST} numbers fit anywhere, got shape {shape}")


def prediction_json(device: str, answer: Latency | Explanation) -> dict[str, Any]:
    """Returns a prediction as JSON-ready data; its kernels where it is an explanation."""
    if isinstance(answer, Latency):
        return {"device": device, "latency": to_json(answer)}
    return {
        "device": device,
        "latency": to_json(answer.latency),
        "kernels": [asdict(kernel) for kernel in answer.kernels],
        "overhead_ms": answer.overhead_ms,
    }
