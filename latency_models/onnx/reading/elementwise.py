"""Element-wise: activations, and arithmetic of maps with constants and with each other."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import Affine, Clip, CurvePiece, Power, Product
from latency_models.onnx.drafts.views import MapView, channel_values
from latency_models.onnx.reading.reader import Array, Reader, attributes, whole_of
from search_spaces.graphs import operators as ops
from search_spaces.graphs.activations import ACTIVATIONS, Activation

Reads = Callable[[Reader, NodeProto], None]
LEAKY = {0.01: "leaky_relu", 0.1: "leaky_relu_0.1", 0.2: "leaky_relu_0.2", 0.3: "leaky_relu_0.3"}


def put_each(reader: Reader, node: NodeProto, operator: Any, index: int = 0) -> None:  # noqa: ANN401
    """Makes the node's result what an operator makes of each number of an input."""
    view = reader.settled(node, reader.view(node, index))
    reader.put(node, view.of(reader.add(node, operator, view.map)))


def plain(operator: Any) -> Reads:  # noqa: ANN401  (an operator or a piece)
    """Returns the reader of what is one operator or piece, whatever its attributes."""
    return lambda reader, node: put_each(reader, node, operator)


def scaled(reader: Reader, node: NodeProto, view: MapView, factor: float, term: float) -> MapView:
    """Adds a factor and a term, the same for every number."""
    count = view.shape[0]
    arrays = {"gain": np.full(count, factor), "term": np.full(count, term)}
    is_result = not (factor == 1 and term == 0)
    if not is_result:
        return view
    return view.of(reader.add(node, Affine(), view.map, arrays=arrays, is_result=False))


def read_hard_sigmoid(reader: Reader, node: NodeProto) -> None:
    """``clip(alpha * x + beta, 0, 1)``; ours has alpha 1/6 and beta 1/2."""
    has = attributes(node)
    alpha, beta = float(has.get("alpha", 0.2)), float(has.get("beta", 0.5))
    view = reader.settled(node, reader.view(node))
    view = scaled(reader, node, view, alpha, beta)
    reader.put(node, view.of(reader.add(node, Clip(0.0, 1.0), view.map)))


def read_leaky_relu(reader: Reader, node: NodeProto) -> None:
    put_each(reader, node, leaky(reader, node, float(attributes(node).get("alpha", 0.01))))


def read_prelu(reader: Reader, node: NodeProto) -> None:
    slopes = np.unique(np.asarray(reader.constant(node, 1), np.float32))
    if len(slopes) != 1:
        reader.fails(node, "has another slope for each channel; one slope for all is read")
    put_each(reader, node, leaky(reader, node, float(slopes[0])))


def activation(reader: Reader, node: NodeProto, name: str) -> ops.Activate:
    """Returns one of our activations."""
    if name not in ACTIVATIONS:
        reader.fails(node, f"is the activation {name}; train with one of {', '.join(ACTIVATIONS)}")
    return ops.Activate(cast(Activation, name))


def leaky(reader: Reader, node: NodeProto, slope: float) -> ops.Activate:
    if slope == 0:
        return ops.Activate("relu")
    for known, name in LEAKY.items():
        if np.float32(known) == np.float32(slope):
            return activation(reader, node, name)
    slopes = ", ".join(map(str, LEAKY))
    reader.fails(node, f"has slope {slope:.6g} below zero; {slopes} are there: train with one")


def read_gelu(reader: Reader, node: NodeProto) -> None:
    is_tanh = attributes(node).get("approximate", "none") == "tanh"
    put_each(reader, node, activation(reader, node, "gelu_tanh" if is_tanh else "gelu"))


def read_sigmoid(reader: Reader, node: NodeProto) -> None:
    put_each(reader, node, activation(reader, node, "sigmoid"))


def read_swish(reader: Reader, node: NodeProto) -> None:
    """``x * sigmoid(alpha * x)``, opset 24."""
    alpha = float(attributes(node).get("alpha", 1.0))
    view = reader.settled(node, reader.view(node))
    inner = scaled(reader, node, view, alpha, 0.0)
    gate = reader.add(node, activation(reader, node, "sigmoid"), inner.map, is_result=False)
    reader.put(node, view.of(reader.add(node, Product(), view.map, gate)))


def read_clip(reader: Reader, node: NodeProto) -> None:
    has = attributes(node)
    low, high = (
        float(bound.reshape(-1)[0]) if bound is not None else float(has.get(name, default))
        for bound, name, default in (
            (reader.optional(node, 1), "min", -np.inf),
            (reader.optional(node, 2), "max", np.inf),
        )
    )
    put_each(reader, node, Clip(low, high))


def read_extreme(reader: Reader, node: NodeProto) -> None:
    """Reads the minimum or maximum of a map and a number."""
    views = [index for index in range(len(node.input)) if not reader.is_constant(node, index)]
    bounds = [
        reader.constant(node, index) for index in range(len(node.input)) if index not in views
    ]
    if len(views) != 1 or len(bounds) != 1 or bounds[0].size != 1:
        reader.fails(node, "compares maps with each other, for which there is no operator")
    bound = float(bounds[0].reshape(-1)[0])
    limits = Clip(bound, np.inf) if node.op_type == "Max" else Clip(-np.inf, bound)
    put_each(reader, node, limits, views[0])


def read_power(reader: Reader, node: NodeProto) -> None:
    exponent = np.asarray(reader.constant(node, 1))
    if exponent.size != 1:
        reader.fails(node, "has another exponent for each channel")
    power = float(exponent.reshape(-1)[0])
    if power == 1:
        reader.put(node, reader.view(node))
    elif power == 0.5:
        put_each(reader, node, CurvePiece("sqrt"))
    elif power in (2.0, 3.0):
        put_each(reader, node, Power(int(power)))
    else:
        reader.fails(node, f"raises to the power {power:g}; 2 and 3 are read, in GELU and norms")


def read_negative(reader: Reader, node: NodeProto) -> None:
    view = reader.settled(node, reader.view(node))
    reader.put(node, put_affine(reader, node, view, -1.0, 0.0))


# Arithmetic


def read_add(reader: Reader, node: NodeProto) -> None:
    put_sum(reader, node, 1.0)


def read_subtract(reader: Reader, node: NodeProto) -> None:
    put_sum(reader, node, -1.0)


def put_sum(reader: Reader, node: NodeProto, sign: float) -> None:
    """Makes the node's result the first input plus the second times a sign."""
    if reader.is_constant(node, 1):
        term = sign * np.asarray(reader.constant(node, 1), np.float64)
        reader.put(node, put_affine(reader, node, reader.view(node), 1.0, term))
    elif reader.is_constant(node, 0):
        term = np.asarray(reader.constant(node, 0), np.float64)
        reader.put(node, put_affine(reader, node, reader.view(node, 1), sign, term))
    else:
        left, right = reader.view(node), reader.view(node, 1)
        if sign < 0:
            right = reader.settled(node, right)
            right = scaled(reader, node, right, -1.0, 0.0)
        reader.put(node, summed(reader, node, left, right))


def read_sum(reader: Reader, node: NodeProto) -> None:
    """Reads a sum of any number of maps."""
    if len(node.input) == 1:
        reader.put(node, reader.view(node))
        return
    if len(node.input) == 2:
        put_sum(reader, node, 1.0)
        return
    total = reader.view(node)
    for index in range(1, len(node.input)):
        total = summed(reader, node, total, reader.view(node, index))
    reader.put(node, total)


def summed(reader: Reader, node: NodeProto, left: MapView, right: MapView) -> MapView:
    left, right, shape = aligned(reader, node, left, right)
    if left.map == right.map:
        return put_affine(reader, node, left, 2.0, 0.0)
    if left.shape != right.shape or left.positions.shape != shape:
        reader.fails(
            node,
            f"adds maps of {left.shape} and {right.shape}, and only equal ones are added here",
        )
    return left.of(reader.add(node, ops.Add(), left.map, right.map))


def aligned(
    reader: Reader, node: NodeProto, left: MapView, right: MapView
) -> tuple[MapView, MapView, tuple[int, ...]]:
    """Returns two values whose equal positions are equal numbers, and the shape of both together.

    A value with one number a channel may stay smaller than the other.
    """
    left, right = reader.settled(node, left), reader.settled(node, right)
    shape = np.broadcast_shapes(left.positions.shape, right.positions.shape)
    same = left.positions.shape == right.positions.shape
    if same and not np.array_equal(left.positions, right.positions):
        left = whole_of(reader, reader.map(node, left))
        right = whole_of(reader, reader.map(node, right))
    return left, right, shape


def once(view: MapView) -> MapView:
    """Returns a value without the axes along which it was repeated (``expand_as``)."""
    positions = view.positions
    if positions.size <= view.shape[0] * view.pixels:
        return view
    for axis, size in enumerate(positions.shape):
        first = np.take(positions, [0], axis)
        if size > 1 and np.array_equal(np.broadcast_to(first, positions.shape), positions):
            positions = first
    return view.moved(positions)


def read_multiply(reader: Reader, node: NodeProto) -> None:
    constant = next((i for i in range(2) if reader.is_constant(node, i)), None)
    if constant is not None:
        factor = np.asarray(reader.constant(node, constant), np.float64)
        reader.put(node, put_affine(reader, node, reader.view(node, 1 - constant), factor, 0.0))
        return
    given = (once(reader.view(node, index)) for index in range(2))
    left, right, shape = aligned(reader, node, *given)
    if right.positions.size > left.positions.size:
        left, right = right, left
    if left.shape == right.shape and left.positions.shape == right.positions.shape:
        reader.put(node, left.of(reader.add(node, Product(), left.map, right.map)))
        return
    gates = np.broadcast_to(right.positions, shape)
    is_gate = right.pixels == 1 and left.positions.shape == shape
    if not is_gate or not np.array_equal(gates, left.positions // left.pixels):
        reader.fails(
            node,
            f"multiplies maps of {left.shape} and {right.shape}; a map is multiplied by one "
            "number per channel here (squeeze and excitation), not by one per pixel",
        )
    reader.put(node, left.of(reader.add(node, Product(), left.map, right.map)))


def read_divide(reader: Reader, node: NodeProto) -> None:
    if reader.is_constant(node, 1):
        with np.errstate(divide="ignore"):  # infinite factors are found by whoever reads on
            factor = 1 / np.asarray(reader.constant(node, 1), np.float64)
        reader.put(node, put_affine(reader, node, reader.view(node), factor, 0.0))
        return
    if reader.is_constant(node, 0):
        reader.fails(node, "divides a constant by a map, for which there is no operator")
    left, right = (
        reader.settled(node, reader.view(node)),
        reader.settled(node, reader.view(node, 1)),
    )
    inverse = right.of(reader.add(node, CurvePiece("reciprocal"), right.map, is_result=False))
    if left.shape != right.shape or not np.array_equal(left.positions, right.positions):
        reader.fails(node, "divides maps by each other, for which there is no operator")
    reader.put(node, left.of(reader.add(node, Product(), left.map, inverse.map)))


def put_affine(
    reader: Reader,
    node: NodeProto,
    view: MapView,
    factor: Array | float,
    term: Array | float,
) -> MapView:
    """Adds a factor and a term, each one number per channel or for all, and returns the result."""
    view = reader.settled(node, view)
    gain, shift = (channel_values(view, np.asarray(each)) for each in (factor, term))
    if gain is None or shift is None:
        reader.fails(
            node,
            "has a constant that differs between the pixels of a channel (a mean image, a "
            "position embedding), for which there is no operator",
        )
    arrays = {"gain": gain, "term": shift}
    return view.of(reader.add(node, Affine(), view.map, arrays=arrays))
