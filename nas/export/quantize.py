"""Post-training quantization: a float32 network at fewer bits, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latency_models.devices.device import get_device
from latency_models.devices.latency import DeviceBusyError, Latency
from nas.data.splits import apportion
from nas.data.tensors import TensorSplit
from nas.export.formats import Measurers
from nas.export.lowering import (
    Calibration,
    LayerSensitivity,
    Plan,
    plan_of,
    sensitivities,
    taken,
    within_drop,
)
from nas.export.network import TrainedNetwork
from nas.problem.records import LatencyConfig
from nas.problem.search_problem import Examples
from nas.runs.files import arrays_bytes
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
class QuantizedNetwork:
    """A network at a lower precision.

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


def quantize(
    network: TrainedNetwork, recipe: QuantizationRecipe, examples: Examples
) -> QuantizedNetwork:
    """Returns a network with one precision throughout its body.

    Raises:
        UserError: If it is not float32, or the recipe does not fit it.
    """
    model, plan, calibration = prepared(network, recipe, examples)
    if recipe.max_drop is None:
        lowered = calibration.lowered(with_precision(model.graph, plan), model)
        found = accuracy(lowered, calibration.split)
    else:
        plan, lowered, found = within_drop(model, plan, calibration, recipe.max_drop)
    return QuantizedNetwork(
        Architecture(f"{network.architecture.space} at {recipe.precision}", (), lowered.graph),
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


def sensitivity(
    network: TrainedNetwork, recipe: QuantizationRecipe, examples: Examples
) -> tuple[LayerSensitivity, ...]:
    """Returns what a network loses by each layer that ``quantize`` lowers."""
    return sensitivities(*prepared(network, recipe, examples))


def prepared(
    network: TrainedNetwork, recipe: QuantizationRecipe, examples: Examples
) -> tuple[Model, Plan, Calibration]:
    """Returns the network, what its layers are to have, and what steps are found with."""
    wanted = get_precision(recipe.precision)
    others: dict[str, Precision] = {
        name: get_precision(other) for name, other in recipe.exceptions.items()
    }
    model = network.model
    if full_precision(model.graph) != model.graph:
        raise UserError(
            f"{network.title} has low-bit layers already; only a float32 network is quantized "
            "after training; take another"
        )
    plan = plan_of(model.graph, wanted, others)
    train = examples.tensors.train
    rows = torch.from_numpy(spread(train.labels.cpu().numpy(), recipe.num_images))
    images = train.inputs(rows.to(train.device), model.graph.input_shape)
    validation: TensorSplit = examples.tensors.validation
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


def quantized_network(network: TrainedNetwork, found: QuantizedNetwork) -> TrainedNetwork:
    """Returns what is told of a network where it is shipped quantized."""
    weights: dict[str, Any] = {
        "from": "quantization after training",
        "epochs": network.weights["epochs"],
        "validation_accuracy": found.accuracy,
        "validation_accuracy_before": found.accuracy_before,
        "method": found.recipe.method,
        "per_channel": found.recipe.per_channel,
        "images": found.num_images,
        "precisions": {name: precision.name for name, precision in found.precisions.items()},
    }
    if "source" in network.weights:
        weights["source"] = network.weights["source"]
    return replace(network, architecture=found.architecture, model=found.model, weights=weights)


def latencies_of(
    config: LatencyConfig, models: Sequence[Model]
) -> tuple[tuple[Latency, ...], str | None]:
    """Returns what networks take on a device, or nothing and why."""
    if not models:
        return (), None
    runtime = config.runtime or get_device(config.device).runtime
    with Measurers(config) as measurers:
        try:
            return tuple(measurers.open(runtime).latency(model) for model in models), None
        except DeviceBusyError as error:
            return (), str(error)
