"""Element-wise: arithmetic of maps with constants and with each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import (
    Affine,
    CurvePiece,
    PerPixel,
    Power,
    Product,
)
from latency_models.onnx.drafts.views import MapView, channel_values
from latency_models.onnx.reading.reader import Array, Reader, whole_of
from search_spaces.graphs import operators as ops

Reads = Callable[[Reader, NodeProto], None]


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


def read_power(reader: Reader, node: NodeProto) -> None:
    exponent = np.asarray(reader.constant(node, 1))
    if exponent.size != 1:
        reader.fails(node, "has another exponent for each channel")
    power = float(exponent.reshape(-1)[0])
    if power == 1:
        reader.put(node, reader.view(node))
    elif power == 0.5:
        put_each(reader, node, CurvePiece("sqrt"))
    elif power == -0.5:
        view = reader.settled(node, reader.view(node))
        root = reader.add(node, CurvePiece("sqrt"), view.map, is_result=False)
        reader.put(node, view.of(reader.add(node, CurvePiece("reciprocal"), root)))
    elif power in (2.0, 3.0):
        put_each(reader, node, Power(int(power)))
    else:
        reader.fails(node, f"raises to the power {power:g}; 2 and 3 are read, in GELU and norms")


def read_negative(reader: Reader, node: NodeProto) -> None:
    view = reader.settled(node, reader.view(node))
    reader.put(node, put_affine(reader, node, view, -1.0, 0.0))


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
    for one, other in ((left, right), (right, left)):
        if is_per_pixel(one, other, shape):
            return one.of(reader.add(node, PerPixel("sum"), one.map, other.map))
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


def is_per_pixel(left: MapView, right: MapView, shape: tuple[int, ...]) -> bool:
    """Whether the second value holds, for each number of the first, one of that number's pixel."""
    if right.shape != (1, *left.shape[1:]) or left.positions.shape != shape:
        return False
    pixels = np.broadcast_to(right.positions, shape)
    return left.shape[0] > 1 and np.array_equal(pixels, left.positions % left.pixels)


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
    if is_per_pixel(left, right, shape):
        reader.put(node, left.of(reader.add(node, PerPixel("product"), left.map, right.map)))
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
        if (np.asarray(reader.constant(node, 0)) != 1).any():
            reader.fails(node, "divides a constant by a map, for which there is no operator")
        put_each(reader, node, CurvePiece("reciprocal"), 1)
        return
    left, right = (
        reader.settled(node, reader.view(node)),
        reader.settled(node, reader.view(node, 1)),
    )
    inverse = right.of(reader.add(node, CurvePiece("reciprocal"), right.map, is_result=False))
    if is_per_pixel(left, inverse, left.positions.shape):
        reader.put(node, left.of(reader.add(node, PerPixel("product"), left.map, inverse.map)))
        return
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
