"""Scores: how much the loss would change without a channel, by its first-order Taylor expansion.

*Source:* Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
https://arxiv.org/abs/1906.10771, equation 8 with gates: each channel is multiplied by a gate
``z = 1``, and without it the loss changes by about ``z dE/dz``, whose square is averaged over
batches.

*Differs from the paper:* the gate stands behind the node's activation, where a channel that is
taken out ends, and not before it: for ReLU that is the same.

Shape letters: B batch, C channels, H and W spatial size.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter, from_model
from nas.training.loss import label_loss
from nas.training.recipe.statistics import drawn_batches
from search_spaces.graphs.model import Array, Model

IMAGES = 1024
BATCH = 64


def taylor_scores(
    model: Model, split: TensorSplit, *, num_images: int = IMAGES, batch_size: int = BATCH
) -> dict[str, Array]:
    """Returns the score of each channel, ``(C,)``, by the name of the node that makes it.

    Nodes that hold arrays have scores, but for the last, whose channels are the classes.

    Args:
        split: Images with labels; the network is in evaluation mode.

    Raises:
        FloatingPointError: If a gradient is NaN or infinite.
    """
    graph = model.graph
    names = [
        node.name
        for node in graph.nodes
        if node.operator.array_shapes(*graph.input_shapes(node)) and node is not graph.output
    ]
    module = from_model(model).requires_grad_(False).to(split.device)
    totals = {name: torch.zeros(graph.node(name).shape[0]).double() for name in names}
    batches = drawn_batches(split, num_images, batch_size)
    for rows in batches:
        for name, change in gate_gradients(module, split, rows, names).items():
            totals[name] += change.double().cpu() ** 2
    scores = {name: (total / len(batches)).numpy() for name, total in totals.items()}
    for name, score in scores.items():
        if not np.isfinite(score).all():
            raise FloatingPointError(f"{name}: the loss has NaN or infinite gradients")
    return {name: score.astype(np.float32) for name, score in scores.items()}


def gate_gradients(
    module: Interpreter, split: TensorSplit, rows: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Returns the gradient of a batch's mean loss by a gate behind each channel, ``(C,)``."""
    inputs = split.inputs(rows, module.graph.input_shape).requires_grad_()
    maps = module.run(inputs, keep_maps=True)
    loss = label_loss(maps[module.graph.output.name], split.labels[rows], smoothing=0.0)
    kept = [maps[name] for name in names]
    gradients = torch.autograd.grad(loss, kept, allow_unused=True)
    return {
        name: torch.zeros(made.shape[1]) if slope is None else gate_gradient(made, slope)
        for name, made, slope in zip(names, kept, gradients, strict=True)
    }


def gate_gradient(made: Tensor, slope: Tensor) -> Tensor:
    """Returns the gradient by a factor of each channel, ``(C,)``, of a map ``(B, C, H, W)``."""
    return (made.detach() * slope).sum((0, 2, 3))
