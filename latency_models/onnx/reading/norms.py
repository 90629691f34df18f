"""Norms: batch norm with our epsilon, wherever it stands.

Shape letters: C channels.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import NormPiece
from latency_models.onnx.drafts.views import channel_values
from latency_models.onnx.reading.reader import Reader, attributes
from search_spaces.graphs.model import NORM_EPSILON


def read_batch_norm(reader: Reader, node: NodeProto) -> None:
    has = attributes(node)
    if has.get("training_mode", 0):
        reader.fails(node, "is in training mode; export the network in evaluation mode")
    view = reader.settled(node, reader.view(node))
    epsilon = float(has.get("epsilon", 1e-5))
    given = [np.asarray(reader.constant(node, index), np.float64) for index in range(1, 5)]
    along = [1] * view.positions.ndim
    along[1 if view.positions.ndim > 1 else 0] = -1
    each = [channel_values(view, array.reshape(along)) for array in given]
    gamma, beta, mean, variance = (
        values
        if values is not None
        else reader.fails(
            node, "scales the numbers of one channel differently (a norm behind a flatten)"
        )
        for values in each
    )
    gamma, variance = with_our_epsilon(gamma, variance, epsilon)
    arrays = {
        "norm.weight": gamma,
        "norm.bias": beta,
        "norm.mean": mean,
        "norm.variance": variance,
    }
    reader.put(node, view.of(reader.add(node, NormPiece(), view.map, arrays=arrays)))


Floats = NDArray[np.float64]


def with_our_epsilon(gamma: Floats, variance: Floats, epsilon: float) -> tuple[Floats, Floats]:
    """Returns factor and variance of a batch norm that computes the same with our epsilon.

    The variance takes the difference in, unless that would leave none of it: then the factor.
    """
    with np.errstate(all="ignore"):  # NaN and negative variances are found by whoever reads on
        moved = variance + epsilon - NORM_EPSILON
        taken = moved >= 0
        factor = gamma * np.sqrt((variance + NORM_EPSILON) / (variance + epsilon))
    return np.where(taken, gamma, factor), np.where(taken, moved, variance)
