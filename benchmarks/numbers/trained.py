"""Trained: weights after an epoch by the ordinary recipe, and steps found by calibration."""

from dataclasses import replace
from typing import Any

from benchmarks.numbers.figures import Figure, arrays_digest, digest
from nas.data.augmentation.settings import Augmentation
from nas.data.tensors import TensorSplits
from nas.export.lowering import Calibration, sensitivities
from nas.nn.calibration import quantize_after_training
from nas.nn.interpreter import from_model
from nas.nn.observers import OBSERVERS
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import accuracy
from nas.training.loop import Training, TrainingResult, calibration_images, train
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.precision import FP32, PRECISIONS, W8A8, get_precision
from search_spaces.quantization.reprecision import layers, uniform
from tests.nas.parts.trainings import dropping_net, few_digits

RECIPE = TrainingConfig(epochs=1, batch_size=32, device="cpu")
OTHERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1},
    "augmented": {"augmentation": Augmentation(flip=True, shift=0.125, cutout=0.25)},
    "clipped": {"gradient_clip": 0.5, "label_smoothing": 0.1},
    "two epochs": {"epochs": 2},
}


def training_figures() -> dict[str, Figure]:
    data = few_digits()
    found = {
        name: about(train(dropping_net(precision), data, RECIPE))
        for name, precision in PRECISIONS.items()
    }
    found |= {
        name: about(train(dropping_net(), data, replace(RECIPE, **changes)))
        for name, changes in OTHERS.items()
    }
    taught = replace(RECIPE, fp32_epochs=1)
    for name in ("w8a8", "xnor"):
        graph = dropping_net(get_precision(name))
        found[f"{name} after float32"] = about(train(graph, data, taught))
    found["state"] = state_figures(dropping_net(W8A8), data)
    return found


def about(result: TrainingResult) -> Figure:
    return {
        "weights": arrays_digest(result.model.arrays),
        "losses": list(result.train_loss),
        "accuracies": list(result.validation_accuracy),
    }


def state_figures(graph: Graph, data: TensorSplits) -> Figure:
    """What is kept to take a training up again."""
    training = Training(graph, data, replace(RECIPE, epochs=2))
    training.run_epoch()
    state = training.state()
    return {
        "arrays": arrays_digest(state.arrays),
        "random": digest(state.order_random),
        "phase": state.phase,
    }


def calibration_figures() -> dict[str, Figure]:
    data = few_digits()
    trained = train(dropping_net(), data, RECIPE).model
    images = calibration_images(data.train, trained.graph)
    found: dict[str, Figure] = {}
    for method in OBSERVERS:
        for name in ("w8a8", "w4a4", "xnor"):
            graph = uniform(trained.graph, get_precision(name))
            for per_channel in (True, False):
                model = quantize_after_training(
                    graph, trained, images, method, per_channel=per_channel
                )
                key = f"{method} {name} {'a channel' if per_channel else 'a layer'}"
                score = accuracy(from_model(model), data.validation)
                found[key] = [arrays_digest(model.arrays), score]
    plan = dict.fromkeys(layers(trained.graph), get_precision("w4a4"))
    rows = sensitivities(trained, plan, Calibration(images, "l2", True, data.validation))
    found["sensitivities"] = [[row.layer, str(row.precision), row.accuracy] for row in rows]
    found["float32"] = [FP32.name, accuracy(from_model(trained), data.validation)]
    return found
