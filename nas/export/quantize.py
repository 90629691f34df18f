"""Post-training quantization: a run's float32 network at fewer bits, without labels and training.

Sensitivity is what the network loses where a single layer is lowered.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.calibration import observe, quantize_after_training, quantized_maps
from nas.problem.search_problem import load_setting
from nas.runs.files import arrays_bytes, write_json, write_whole
from nas.runs.summary import check_same_data
from nas.study.results import RunResults, TrialResult
from nas.training.accuracy import accuracy
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.precision import Precision, get_precision
from search_spaces.quantization.reprecision import full_precision, layers, uniform, with_precision
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One row of the table.

    Attributes:
        precision: What the layer took: of a depthwise one, the nearest that has a kernel.
        accuracy: With this layer alone lowered, in 0..1.
        drop: What the float32 network has more.
    """

    layer: str
    precision: Precision
    accuracy: float
    drop: float


def sensitivities(
    model: Model,
    split: TensorSplit,
    images: Tensor,
    precision: Precision,
    method: str = "l2",
    *,
    per_channel: bool = True,
) -> tuple[LayerSensitivity, ...]:
    """Returns a row for each convolution and linear layer of a float32 network, in order.

    Args:
        split: What the accuracy is of.
        images: To calibrate on, as network inputs; see ``calibrate``.

    Raises:
        UserError: As ``with_precision`` and ``calibrate`` do.
    """
    graphs = {name: with_precision(model.graph, {name: precision}) for name in layers(model.graph)}
    wanted = {name: None for graph in graphs.values() for name in quantized_maps(graph)}
    maps = observe(model, images, wanted)
    before = accuracy(model, split)
    rows = []
    for name, graph in graphs.items():
        lowered = quantize_after_training(
            graph, model, images, method, per_channel=per_channel, maps=maps
        )
        found = accuracy(lowered, split)
        taken = graph.node(name).operator.precision  # type: ignore[attr-defined]
        rows.append(LayerSensitivity(name, taken, found, before - found))
    return tuple(rows)


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
) -> QuantizedTrial:
    """Returns the network of ``trial`` with one precision throughout its body.

    Args:
        precision: The body's; see ``uniform`` for the ends.
        method: An observer's name.
        per_channel: A step for each output channel of the weights; else one a layer.
        num_images: Training images to calibrate on.

    Raises:
        UserError: If the network is not float32 or was not trained, or the data has changed.
    """
    wanted = get_precision(precision)
    model, images, split = prepared(results, trial, num_images)
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
) -> tuple[LayerSensitivity, ...]:
    """Returns what the network of ``trial`` loses, layer by layer; see ``quantize_trial``."""
    wanted = get_precision(precision)
    model, images, split = prepared(results, trial, num_images)
    return sensitivities(model, split, images, wanted, method, per_channel=per_channel)


def prepared(
    results: RunResults, trial: TrialResult, num_images: int
) -> tuple[Model, Tensor, TensorSplit]:
    """Returns the network, the inputs to calibrate on, and the validation images."""
    model = results.run.load_model(trial.hash)
    if full_precision(model.graph) != model.graph:
        raise UserError(
            f"{results.run.path}: {trial.name} has low-bit layers already; only a float32 network "
            "is quantized after training; pick another trial"
        )
    setting = load_setting(results.config)
    check_same_data(results.run.data_file, setting.splits)
    tensors = setting.tensors
    rows = slice(0, num_images)
    return model, tensors.train.inputs(rows, model.graph.input_shape), tensors.validation


def save_quantized(found: QuantizedTrial, folder: Path) -> tuple[Path, Path]:
    """Writes the architecture and the weights into ``folder``; returns both files."""
    architecture, weights = folder / "architecture.json", folder / "weights.safetensors"
    write_json(architecture, to_json(found.architecture))
    write_whole(weights, arrays_bytes(found.model.arrays))
    return architecture, weights
