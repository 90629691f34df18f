"""Activations in ONNX: one operator each, or the few that runtimes join into one."""

from collections.abc import Callable, Mapping
from math import pi

import numpy as np

from latency_models.onnx.graph import OnnxGraph
from search_spaces.graphs.activations import LEAKS, Activation
from search_spaces.graphs.errors import UnsupportedOperatorError

Writer = Callable[[OnnxGraph, str, str], str]  # of a file, a node's name and the value before it


def activate(file: OnnxGraph, value: str, name: str, activation: Activation) -> str:
    """Adds ``activation`` after ``value`` and returns the value that it gives."""
    if activation not in ONNX_ACTIVATIONS:
        raise UnsupportedOperatorError(f"ONNX export has no activation {activation!r}")
    return ONNX_ACTIVATIONS[activation](file, name, value)


def number(file: OnnxGraph, name: str, what: str, value: float) -> str:
    return file.constant(f"{name}/{what}", np.array(value, np.float32))


def clip_to_6(file: OnnxGraph, name: str, value: str) -> str:
    low, high = number(file, name, "low", 0), number(file, name, "high", 6)
    return file.add("Clip", name, [value, low, high])


def silu(file: OnnxGraph, name: str, value: str) -> str:
    gate = file.add("Sigmoid", name, [value])
    return file.add("Mul", f"{name}/silu", [value, gate])


def gelu(file: OnnxGraph, name: str, value: str) -> str:
    """Spelled out, as the operator came with opset 20; ONNX Runtime joins it."""
    root = number(file, name, "root", 2**0.5)
    erf = file.add("Erf", name, [file.add("Div", f"{name}/scaled", [value, root])])
    return half_of_sum(file, name, value, erf)


def gelu_tanh(file: OnnxGraph, name: str, value: str) -> str:
    cube = file.add("Pow", f"{name}/cube", [value, number(file, name, "three", 3)])
    bent = file.add("Mul", f"{name}/bent", [cube, number(file, name, "cubic", 0.044715)])
    inner = file.add("Add", f"{name}/inner", [value, bent])
    slope = number(file, name, "slope", (2 / pi) ** 0.5)
    tanh = file.add("Tanh", name, [file.add("Mul", f"{name}/scaled", [inner, slope])])
    return half_of_sum(file, name, value, tanh)


def half_of_sum(file: OnnxGraph, name: str, value: str, share: str) -> str:
    """Adds value * (1 + share) / 2."""
    whole = file.add("Add", f"{name}/whole", [share, number(file, name, "one", 1)])
    product = file.add("Mul", f"{name}/product", [value, whole])
    return file.add("Mul", f"{name}/gelu", [product, number(file, name, "half", 0.5)])


def leak(slope: float) -> Writer:
    return lambda file, name, value: file.add("LeakyRelu", name, [value], alpha=slope)


ONNX_ACTIVATIONS: Mapping[Activation, Writer] = {
    "none": lambda file, name, value: value,
    "relu": lambda file, name, value: file.add("Relu", name, [value]),
    "relu6": clip_to_6,
    "hardswish": lambda file, name, value: file.add("HardSwish", name, [value]),
    "hardsigmoid": lambda file, name, value: file.add(
        "HardSigmoid", name, [value], alpha=1 / 6, beta=0.5
    ),
    "sigmoid": lambda file, name, value: file.add("Sigmoid", name, [value]),
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    **{name: leak(slope) for name, slope in LEAKS.items()},
}
