"""Scales of batch norms: how many are small, and the penalty that makes as many small as wanted.

*Source:* Liu et al., "Network Slimming", ICCV 2017, https://arxiv.org/abs/1708.06519, section 3,
who choose the weight of the penalty by hand.

The rule here: the first weight is the least that could bring the wanted share of scales to zero if
the loss did not hold them. SGD moves a scale by ``learning_rate * weight / (1 - momentum)`` a step
at most, so the sum of that over all steps must reach the quantile of the scales; AdamW divides a
gradient by its root mean square ``r``, so a scale moves by ``learning_rate * weight / sqrt(r^2 +
weight^2)`` a step. The loss does hold some, and in few epochs such a weight may push down all: so
from there it is raised, or lowered where it costs too much accuracy, from round to round
(`steps.sparse_train`).
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from nas.compression.workbench import Histogram
from nas.data.tensors import TensorSplit
from nas.nn.interpreter import from_model
from nas.problem.training_config import TrainingConfig
from nas.training.loss import label_loss
from nas.training.recipe.optimizer import learning_rate
from nas.training.recipe.statistics import drawn_batches
from nas.training.sparsity import norm_scales, scale_names
from search_spaces.graphs.model import Model

SMALL = 1e-2  # of the largest scale of the network: a channel of less adds next to nothing
BINS = 40
GRADIENT_IMAGES, GRADIENT_BATCH = 512, 64
MOST_OF_THE_WAY = 0.9  # that AdamW is asked to move a scale; all of it would take any weight


def scale_sizes(model: Model) -> NDArray[np.float64]:
    """Returns the absolute scales of all batch norms in one row."""
    sizes = [np.abs(model.arrays[name].astype(np.float64)) for name in scale_names(model.graph)]
    return np.concatenate(sizes) if sizes else np.zeros(0)


def small_share(sizes: NDArray[np.float64]) -> float:
    """Returns the share of scales below 1 % of the largest.

    >>> small_share(np.array([1.0, 0.5, 0.005, 0.0]))
    0.5
    """
    return float((sizes < SMALL * sizes.max()).mean())


def histogram(sizes: NDArray[np.float64], edges: Sequence[float] | None = None) -> Histogram:
    """Returns how many scales are of which size, by default in bins up to the largest."""
    bins = np.linspace(0, max(sizes.max(), 1e-9), BINS + 1) if edges is None else np.array(edges)
    counts, edges_found = np.histogram(np.clip(sizes, bins[0], bins[-1]), bins)
    return Histogram(tuple(map(float, edges_found)), tuple(map(int, counts)))


def first_weight(model: Model, split: TensorSplit, config: TrainingConfig, share: float) -> float:
    """Returns the weight to begin with, so that ``share`` of the scales may come to zero."""
    needed = float(np.quantile(scale_sizes(model), share))
    steps = max(1, min(-(-len(split) // config.batch_size), len(split) // 2))
    path = sum(learning_rate(step, steps, config) for step in range(config.epochs * steps))
    if config.optimizer == "sgd":
        return needed * (1 - config.momentum) / path
    moved = min(needed / path, MOST_OF_THE_WAY)
    return gradient_size(model, split) * moved / sqrt(1 - moved**2)


def gradient_size(model: Model, split: TensorSplit) -> float:
    """Returns the median over scales of the root mean square of the loss's gradient."""
    module = from_model(model).to(split.device)
    scales = norm_scales(module)
    squares = []
    for rows in drawn_batches(split, GRADIENT_IMAGES, GRADIENT_BATCH):
        outputs = module(split.inputs(rows, model.graph.input_shape))
        loss = label_loss(outputs, split.labels[rows], smoothing=0.0)
        squares.append(torch.cat(torch.autograd.grad(loss, scales)) ** 2)
    return float(torch.stack(squares).mean(0).sqrt().median())
