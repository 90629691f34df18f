"""Activations: functions of each number that are one operator of a file."""

from typing import cast

import numpy as np
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import Affine, Clip, Product
from latency_models.onnx.drafts.views import MapView, channel_values
from latency_models.onnx.reading.elementwise import put_each, scaled
from latency_models.onnx.reading.reader import Array, Reader, attributes
from search_spaces.graphs import operators as ops
from search_spaces.graphs.activations import ACTIVATIONS, Activation

LEAKY = {0.01: "leaky_relu", 0.1: "leaky_relu_0.1", 0.2: "leaky_relu_0.2", 0.3: "leaky_relu_0.3"}


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
    """Slopes that were trained are ``slope * x + (1 - slope) * relu(x)``."""
    slopes = np.unique(np.asarray(reader.constant(node, 1), np.float32))
    if len(slopes) == 1 and (known := known_leaky(float(slopes[0]))) is not None:
        put_each(reader, node, activation(reader, node, known))
        return
    view = reader.settled(node, reader.view(node))
    slope = channel_values(view, np.asarray(reader.constant(node, 1), np.float64))
    if slope is None:
        reader.fails(node, "has another slope for each pixel; one for each channel is read")
    above = view.of(reader.add(node, ops.Activate("relu"), view.map, is_result=False))
    above = affine(reader, node, above, 1 - slope)
    below = affine(reader, node, view, slope)
    reader.note(f"{reader.origin(node)}: trained slopes are a sum of two scaled maps")
    reader.put(node, view.of(reader.add(node, ops.Add(), below.map, above.map)))


def affine(reader: Reader, node: NodeProto, view: MapView, gain: Array) -> MapView:
    """Adds a factor for each channel (C,)."""
    arrays = {"gain": gain, "term": np.zeros_like(gain)}
    return view.of(reader.add(node, Affine(), view.map, arrays=arrays, is_result=False))


def activation(reader: Reader, node: NodeProto, name: str) -> ops.Activate:
    """Returns one of our activations."""
    if name not in ACTIVATIONS:
        reader.fails(node, f"is the activation {name}; train with one of {', '.join(ACTIVATIONS)}")
    return ops.Activate(cast(Activation, name))


def leaky(reader: Reader, node: NodeProto, slope: float) -> ops.Activate:
    if (known := known_leaky(slope)) is not None:
        return activation(reader, node, known)
    slopes = ", ".join(map(str, LEAKY))
    reader.fails(node, f"has slope {slope:.6g} below zero; {slopes} are there: train with one")


def known_leaky(slope: float) -> str | None:
    """Returns the activation that has this slope below zero; None if none has."""
    near = (name for known, name in LEAKY.items() if np.float32(known) == np.float32(slope))
    return "relu" if slope == 0 else next(near, None)


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
