"""Accuracy: what a trained network says about a split."""

import torch
from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter, from_model
from nas.problem.answers import Confusion
from search_spaces.graphs.model import Model

EVALUATION_BATCH = 256


def logits(
    network: Interpreter | Model, split: TensorSplit, batch_size: int = EVALUATION_BATCH
) -> Tensor:
    """Returns the network's outputs for every image of a split, ``(N, num_classes)``, float32.

    A module must be on the device of the split; it is evaluated in evaluation mode.
    """
    module = ready(network, split)
    shape = module.graph.input_shape
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            outputs = [module(x) for x, _ in split.batches(shape, batch_size)]
    finally:
        module.train(was_training)
    return torch.cat(outputs).float()


def confusion(network: Interpreter | Model, split: TensorSplit) -> Confusion:
    """Returns how often each class is answered with which: the one with the largest output.

    Raises:
        FloatingPointError: If an output is NaN or infinite.
    """
    outputs = logits(network, split)
    if not bool(outputs.isfinite().all()):
        raise FloatingPointError(f"{split.name}: the network gives NaN or infinite outputs")
    classes = split.num_classes
    cells = split.labels * classes + outputs.argmax(1)
    counts = torch.bincount(cells, minlength=classes**2).reshape(classes, classes)
    return Confusion.of(counts.cpu().numpy())


def accuracy(network: Interpreter | Model, split: TensorSplit) -> float:
    """Returns the share of images whose largest output is their class, in 0..1.

    Raises: as `confusion`.
    """
    return confusion(network, split).accuracy


def ready(network: Interpreter | Model, split: TensorSplit) -> Interpreter:
    if isinstance(network, Model):
        return from_model(network).to(split.device)
    return network
