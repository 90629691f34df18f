"""Post-training: a float32 network of a run, quantized without labels and without training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save as safetensors_bytes
from torch import Tensor

from nas.accuracy import accuracy
from nas.calibration import quantize_after_training
from nas.data.summary import check_same_data
from nas.data.tensors import TensorSplit
from nas.results import RunResults, TrialResult
from nas.sensitivity import LayerSensitivity, sensitivities
from nas.setting import Setting, load_setting
from nas.whole_files import write_json, write_whole
from search_spaces.architecture import to_json
from search_spaces.cost import network_cost
from search_spaces.errors import UserError
from search_spaces.model import Model
from search_spaces.precision import get_precision
from search_spaces.reprecision import full_precision, uniform
from search_spaces.space import Architecture

IMAGES = 512  # of the training split, where nothing else is asked for


@dataclass(frozen=True, slots=True)
class QuantizedTrial:
    """A network of a run at a lower precision.

    Attributes:
        accuracy_before: Of the float32 network, on the validation images.
        accuracy: Of the quantized one.
        bytes_before: Of the float32 network's stored weights.
        bytes: Of the quantized one's.
    """

    architecture: Architecture
    model: Model
    accuracy_before: float
    accuracy: float
    bytes_before: int
    bytes: int


def quantize_trial(
    results: RunResults,
    trial: TrialResult,
    precision: str,
    method: str = "l2",
    *,
    per_channel: bool = True,
    num_images: int = IMAGES,
    setting: Setting | None = None,
) -> QuantizedTrial:
    """Returns the network of ``trial`` with one precision throughout its body.

    Args:
        precision: The body's; see ``uniform`` for the ends.
        method: An observer's name.
        per_channel: A step for each output channel of the weights; else one a layer.
        num_images: Training images to calibrate on.
        setting: The run's data, where it is loaded already.

    Raises:
        UserError: If the network is not float32 or was not trained, or the data has changed.
    """
    wanted = get_precision(precision)
    model, images, split = prepared(results, trial, num_images, setting)
    graph = uniform(model.graph, wanted)
    lowered = quantize_after_training(graph, model, images, method, per_channel=per_channel)
    searched = results.run.load_architecture(trial.hash)
    return QuantizedTrial(
        Architecture(f"{searched.space} at {precision}", (), graph),
        lowered,
        accuracy(model, split),
        accuracy(lowered, split),
        network_cost(model.graph).weight_bytes,
        network_cost(graph).weight_bytes,
    )


def sensitivity_of_trial(
    results: RunResults,
    trial: TrialResult,
    precision: str,
    method: str = "l2",
    *,
    per_channel: bool = True,
    num_images: int = IMAGES,
    setting: Setting | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Returns what the network of ``trial`` loses, layer by layer; see ``quantize_trial``."""
    wanted = get_precision(precision)
    model, images, split = prepared(results, trial, num_images, setting)
    return sensitivities(model, split, images, wanted, method, per_channel=per_channel)


def prepared(
    results: RunResults, trial: TrialResult, num_images: int, setting: Setting | None
) -> tuple[Model, Tensor, TensorSplit]:
    """Returns the network, the inputs to calibrate on, and the validation images."""
    model = results.run.load_model(trial.hash)
    if full_precision(model.graph) != model.graph:
        raise UserError(
            f"{results.run.path}: {trial.name} has low-bit layers already; only a float32 network "
            "is quantized after training; pick another trial"
        )
    setting = setting or load_setting(results.config)
    check_same_data(results.run.data_file, setting.splits)
    tensors = setting.tensors
    rows = slice(0, num_images)
    return model, tensors.train.inputs(rows, model.graph.input_shape), tensors.validation


def save_quantized(found: QuantizedTrial, folder: Path) -> tuple[Path, Path]:
    """Writes the architecture and the weights into ``folder``; returns both files."""
    arrays = {name: np.asarray(array, order="C") for name, array in found.model.arrays.items()}
    architecture, weights = folder / "architecture.json", folder / "weights.safetensors"
    write_json(architecture, to_json(found.architecture))
    write_whole(weights, safetensors_bytes(arrays))
    return architecture, weights
