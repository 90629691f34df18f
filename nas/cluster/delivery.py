"""Delivery: a trained candidate on its way from a node to the driver, as one safetensors file."""

import json

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from nas.training import TrainingResult
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.model import Model

ABOUT = ".about"  # JSON, as an array beside the network's: no layer has an empty name


def to_bytes(result: TrainingResult) -> bytes:
    """Returns the trained network and how it was trained."""
    about = {
        "train_loss": list(result.train_loss),
        "validation_accuracy": list(result.validation_accuracy),
        "seconds": result.seconds,
        "finished": result.finished,
    }
    arrays = {name: np.asarray(array, order="C") for name, array in result.model.arrays.items()}
    return bytes(save(arrays | {ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}))


def from_bytes(content: bytes, graph: Graph) -> TrainingResult:
    """Returns what `to_bytes` was given; ``graph`` is the network's.

    Raises:
        UserError: If the file is damaged, or of another network.
    """
    try:
        arrays = load(content)
        about = json.loads(arrays.pop(ABOUT).tobytes())
        return TrainingResult(
            Model(graph, arrays),
            tuple(about["train_loss"]),
            tuple(about["validation_accuracy"]),
            about["seconds"],
            about["finished"],
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"a trained network that was delivered is damaged: {error}") from None
