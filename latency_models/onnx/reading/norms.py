"""Norms: batch norm with our epsilon, layer norm over channels, local response norm.

Shape letters: C channels.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import NormPiece
from latency_models.onnx.drafts.views import channel_values, pixel_rows
from latency_models.onnx.reading.reader import Reader, attributes, whole_of
from search_spaces.graphs import operators as ops
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


def read_layer_norm(reader: Reader, node: NodeProto) -> None:
    has = attributes(node)
    view = reader.settled(node, reader.view(node))
    axis = int(has.get("axis", -1))
    is_last = axis in (-1, view.positions.ndim - 1)
    if not is_last or pixel_rows(view) is None:
        reader.fails(node, "normalises over more than the channels of a pixel; that alone is read")
    scale = channel_values(view, np.asarray(reader.constant(node, 1)))
    bias = reader.optional(node, 2)
    term = np.zeros(view.shape[0]) if bias is None else channel_values(view, np.asarray(bias))
    if scale is None or term is None:
        reader.fails(node, "has another factor for each pixel; one for each channel is read")
    if any(node.output[1:]):
        reader.fails(node, "gives mean and deviation too, which nothing here reads")
    operator = ops.LayerNorm(float(has.get("epsilon", 1e-5)))
    arrays = {"gain": scale, "bias": term}
    reader.put(node, view.of(reader.add(node, operator, view.map, arrays=arrays)))


def read_lrn(reader: Reader, node: NodeProto) -> None:
    view, has = reader.view(node), attributes(node)
    source = reader.map(node, view)
    operator = ops.LocalResponseNorm(
        int(has["size"]),
        float(has.get("alpha", 1e-4)),
        float(has.get("beta", 0.75)),
        float(has.get("bias", 1.0)),
    )
    name = reader.add(node, operator, source)
    reader.put(node, whole_of(reader, name, view.positions.shape))
