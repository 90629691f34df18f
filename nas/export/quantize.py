"""Post-training quantization: a run's float32 network at fewer bits, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latency_models.devices.device import get_device
from latency_models.devices.latency import DeviceBusyError, Latency
from nas.data.splits import apportion
from nas.data.tensors import TensorSplit
from nas.export.formats import FORMATS, Measurers
from nas.export.lowering import (
    Calibration,
    LayerSensitivity,
    Plan,
    plan_of,
    sensitivities,
    taken,
    within_drop,
)
from nas.export.write import ExportReport, Say, TrainedNetwork, ship
from nas.problem.search_problem import Setting, load_setting
from nas.runs.files import arrays_bytes
from nas.runs.summary import check_same_data
from nas.study.results import RunResults, TrialResult
from nas.training.accuracy import accuracy
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.precision import Precision, get_precision
from search_spaces.quantization.reprecision import full_precision, layers, with_precision
from search_spaces.quantization.storage import stored
from search_spaces.space.space import Architecture

IMAGES = 512  # of the training split, where nothing else is asked for


@dataclass(frozen=True, slots=True)
class QuantizationRecipe:
    """How a network is to be quantized.

    Attributes:
        precision: The body's; see ``uniform_plan`` for the ends.
        method: An observer's name.
        per_channel: A step for each output channel of the weights; else one a layer.
        num_images: Training images to calibrate on, of all classes.
        exceptions: Other precisions by layer, or by pattern of names; see ``plan_of``.
        max_drop: What validation accuracy may fall by, as a share; None takes what comes.

    Raises:
        UserError: If a number makes no sense.
    """

    precision: str
    method: str = "l2"
    per_channel: bool = True
    num_images: int = IMAGES
    exceptions: Mapping[str, str] = field(default_factory=dict)
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.num_images < 2:
            raise UserError(
                f"calibration needs at least 2 images, got {self.num_images}; {IMAGES} are usual"
            )
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise UserError(
                "the largest drop of accuracy must be a share of the images, from 0 up to 1 (one "
                f"point is 0.01), got {self.max_drop:g}"
            )


@dataclass(frozen=True, slots=True)
class QuantizedTrial:
    """A network of a run at a lower precision.

    Attributes:
        precisions: Of each layer, as it came out.
        num_images: Images that it was calibrated on.
        accuracy_before: Of the float32 network, on the validation images.
        accuracy: Of the quantized one.
        bytes_before: Of the float32 network's stored weights.
        bytes: Of the quantized one's.
    """

    architecture: Architecture
    model: Model
    float_model: Model
    recipe: QuantizationRecipe
    precisions: Plan
    num_images: int
    accuracy_before: float
    accuracy: float
    bytes_before: int
    bytes: int

    @property
    def file_bytes_before(self) -> int:
        return file_bytes(self.float_model)

    @property
    def file_bytes(self) -> int:
        return file_bytes(self.model)


def file_bytes(model: Model) -> int:
    """Returns the size of the file that holds a network's arrays."""
    return len(arrays_bytes(stored(model)))


def quantize_trial(
    results: RunResults,
    trial: TrialResult,
    precision: str,
    method: str = "l2",
    *,
    per_channel: bool = True,
    num_images: int = IMAGES,
    exceptions: Mapping[str, str] | None = None,
    max_drop: float | None = None,
    setting: Setting | None = None,
) -> QuantizedTrial:
    """Returns the network of ``trial`` with one precision throughout its body.

    Args: as `QuantizationRecipe`.
        setting: The run's data, where it is loaded already.

    Raises:
        UserError: If the network is not float32 or was not trained, the data has changed, or a
            number makes no sense.
    """
    recipe = QuantizationRecipe(
        precision, method, per_channel, num_images, exceptions or {}, max_drop
    )
    model, plan, calibration = prepared(results, trial, recipe, setting)
    if max_drop is None:
        lowered = calibration.lowered(with_precision(model.graph, plan), model)
        found = accuracy(lowered, calibration.split)
    else:
        plan, lowered, found = within_drop(model, plan, calibration, max_drop)
    searched = results.run.load_architecture(trial.hash)
    return QuantizedTrial(
        Architecture(f"{searched.space} at {precision}", (), lowered.graph),
        lowered,
        model,
        recipe,
        {name: taken(lowered.graph, name) for name in layers(lowered.graph)},
        len(calibration.images),
        accuracy(model, calibration.split),
        found,
        network_cost(model.graph).weight_bytes,
        network_cost(lowered.graph).weight_bytes,
    )


def sensitivity_of_trial(
    results: RunResults,
    trial: TrialResult,
    precision: str,
    method: str = "l2",
    *,
    per_channel: bool = True,
    num_images: int = IMAGES,
    exceptions: Mapping[str, str] | None = None,
    setting: Setting | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Returns what the network of ``trial`` loses by each layer that ``quantize_trial`` lowers."""
    recipe = QuantizationRecipe(precision, method, per_channel, num_images, exceptions or {})
    return sensitivities(*prepared(results, trial, recipe, setting))


def prepared(
    results: RunResults, trial: TrialResult, recipe: QuantizationRecipe, setting: Setting | None
) -> tuple[Model, Plan, Calibration]:
    """Returns the network, what its layers are to have, and what steps are found with."""
    wanted = get_precision(recipe.precision)
    others: dict[str, Precision] = {
        name: get_precision(other) for name, other in recipe.exceptions.items()
    }
    model = results.run.load_model(trial.hash)
    if full_precision(model.graph) != model.graph:
        raise UserError(
            f"{results.run.path}: {trial.name} has low-bit layers already; only a float32 network "
            "is quantized after training; pick another trial"
        )
    plan = plan_of(model.graph, wanted, others)
    setting = setting or load_setting(results.config)
    check_same_data(results.run.data_file, setting.splits)
    train = setting.tensors.train
    rows = torch.from_numpy(spread(train.labels.cpu().numpy(), recipe.num_images))
    images = train.inputs(rows.to(train.device), model.graph.input_shape)
    validation: TensorSplit = setting.tensors.validation
    return model, plan, Calibration(images, recipe.method, recipe.per_channel, validation)


def spread(labels: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Returns rows of all classes, each in its proportion and at least one, in a drawn order.

    Args:
        count: How many; all where there are fewer, and more where there are more classes.

    >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    >>> np.bincount(labels[spread(labels, 4)]).tolist()
    [3, 1]
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    by_class = [order[labels[order] == label] for label in np.unique(labels)]
    sizes = np.array([len(rows) for rows in by_class])
    quota = np.maximum(apportion(min(count, len(labels)), sizes, sizes), 1)
    chosen = [rows[:number] for rows, number in zip(by_class, quota, strict=True)]
    rows: NDArray[np.int64] = rng.permutation(np.concatenate(chosen))
    return rows


def ship_quantized(
    results: RunResults,
    trial: TrialResult,
    found: QuantizedTrial,
    to: Path,
    formats: Sequence[str] = tuple(FORMATS),
    *,
    measure: bool = True,
    batch: int | None = None,
    setting: Setting | None = None,
    say: Say = lambda step: None,
) -> ExportReport:
    """Writes a quantized network as files, each checked; see ``export_network``."""
    weights: dict[str, Any] = {
        "from": "quantization after training",
        "epochs": trial.evaluation.epochs,
        "validation_accuracy": found.accuracy,
        "validation_accuracy_before": found.accuracy_before,
        "method": found.recipe.method,
        "per_channel": found.recipe.per_channel,
        "images": found.num_images,
        "precisions": {name: precision.name for name, precision in found.precisions.items()},
    }
    network = TrainedNetwork(found.architecture, found.model, weights)
    setting = setting or load_setting(results.config)
    return ship(
        results, trial, network, to, formats, setting, measure=measure, batch=batch, say=say
    )


def latencies_of(
    results: RunResults, models: Sequence[Model]
) -> tuple[tuple[Latency, ...], str | None]:
    """Returns what networks take on the run's device, or nothing and why."""
    if not models:
        return (), None
    config = results.config.latency
    runtime = config.runtime or get_device(config.device).runtime
    with Measurers(config) as measurers:
        try:
            return tuple(measurers.open(runtime).latency(model) for model in models), None
        except DeviceBusyError as error:
            return (), str(error)
