"""Quantization: what the arrays of a coded node mean, as integers and scales.

A coded convolution is deployed as ``y = activation(scale * sum(w * a) + bias)``, where ``w`` and
``a`` are integer codes (or signs), ``scale`` is one float32 number per output channel, and the
sum is exact in 32 bits.

Shape letters: O output channels, I input channels of a group.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import ChannelSplit, Conv2d, Linear, Quantize

Codes = NDArray[np.int8]
Floats = NDArray[np.float32]
LEAST_STEP = float(np.finfo(np.float32).tiny)  # below it, float32 loses digits
LARGEST_SUM = (1 << 31) - 1


def weight_limits(bits: int) -> tuple[int, int]:
    """Returns the least and the largest code of a weight; 8 bits are symmetric.

    >>> weight_limits(8), weight_limits(4), weight_limits(2)
    ((-127, 127), (-8, 7), (-2, 1))
    """
    if bits == 8:
        return -127, 127
    return -(1 << bits - 1), (1 << bits - 1) - 1


def weight_codes(model: Model, node: Node) -> tuple[Codes, Floats]:
    """Returns a coded node's weights (O, I, kh, kw) or (O, features), and the scale of each (O,).

    Integer codes are ``clip(round(w / step))``, halves to even; signs are +1 where ``w >= 0``,
    their scale is the mean of |w| (XNOR-Net, equation 6).

    Raises:
        UserError: If a step is not a positive float32 number with all its digits.
    """
    operator = coded_operator(node)
    weight = np.asarray(model.arrays[f"{node.name}.weight"], np.float32)
    if operator.precision.weights == "sign":
        magnitude = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).mean(1)
        return np.where(weight >= 0, 1, -1).astype(np.int8), magnitude.astype(np.float32)
    step = np.asarray(model.arrays[f"{node.name}.weight.step"], np.float32)
    check_step(f"{node.name}.weight.step", step)
    low, high = weight_limits(operator.precision.weight_bits)
    each = step.reshape(-1, *(1,) * (weight.ndim - 1))
    return np.clip(np.rint(weight / each), low, high).astype(np.int8), step


def snap_weights(model: Model) -> Model:
    """Returns the model with its coded weights on their grid: what training leaves behind.

    The real numbers behind the codes are gone; coding them again gives the same codes.
    """
    arrays = dict(model.arrays)
    for node in model.graph.nodes:
        if isinstance(node.operator, Conv2d | Linear) and is_coded(node):
            codes, scale = weight_codes(model, node)
            each = scale.reshape(-1, *(1,) * (codes.ndim - 1))
            arrays[f"{node.name}.weight"] = codes.astype(np.float32) * each
    return Model(model.graph, arrays)


def output_scale(model: Model, node: Node) -> Floats:
    """Returns what a deployed node's integer sums are multiplied by (O,).

    It is the input's step (1 for signs and for real maps) times the weights' scale times the
    folded norm's gain, multiplied in float64.
    """
    operator = coded_operator(node)
    _, scale = weight_codes(model, node)
    product = scale.astype(np.float64) * model.arrays[f"{node.name}.gain"]
    if operator.precision.activations == "integer":
        product = product * input_step(model, node)
    return product.astype(np.float32)


def input_step(model: Model, node: Node) -> float:
    """Returns the step of the integer codes that a node reads."""
    name = input_quantizer(model.graph, node.inputs[0]).name
    step = model.arrays[f"{name}.step"]
    check_step(f"{name}.step", step)
    return float(np.float32(step))


def input_quantizer(graph: Graph, name: str) -> Node:
    """Returns the quantizer whose codes the map ``name`` is made of: itself, or a part of it.

    Raises:
        ValueError: If it is no such map.
    """
    source = name
    while source != INPUT:
        node = graph.node(source)
        if isinstance(node.operator, Quantize):
            return node
        if not isinstance(node.operator, ChannelSplit):
            break
        source = node.inputs[0]
    raise ValueError(f"the map {name!r} is not coded")


def check_step(name: str, step: NDArray[np.floating]) -> None:
    """Raises UserError if a step is zero, negative, not finite, or too small for float32."""
    least = float(np.min(step))
    if not np.all(np.isfinite(step)) or least < LEAST_STEP:
        bad = least if least < LEAST_STEP else float("nan")
        raise UserError(
            f"{name} must be a positive number of at least {LEAST_STEP:.2g}, got {bad:.3g}; the "
            "numbers behind it are constant or vanish: calibrate on other images, or train longer"
        )


def check_steps(model: Model) -> None:
    """Raises UserError if a step of the model is one that ``check_step`` refuses."""
    for name, array in model.arrays.items():
        if name.endswith(".step"):
            check_step(name, array)


def check_accumulators(graph: Graph) -> None:
    """Raises UserError if the integer sum of some coded node could leave 32 bits."""
    for node in graph.nodes:
        if is_coded(node) and (bound := largest_sum(graph, node)) > LARGEST_SUM:
            raise UserError(
                f"{node.name}: its integer sums must stay within {LARGEST_SUM} (32 bits), and "
                f"can reach {bound}; use fewer input channels, a smaller kernel or fewer bits"
            )


def largest_sum(graph: Graph, node: Node) -> int:
    """Returns the largest magnitude that the integer sum of a coded node can have.

    Codes count as kernels hold them: unsigned, a signed map shifted by half its range.
    """
    operator = coded_operator(node)
    if operator.precision.activations == "real":
        return 0
    terms = prod(operator.array_shapes(*graph.input_shapes(node))["weight"][1:])
    bits = operator.precision.weight_bits
    weight = 1 if bits == 1 else max(map(abs, weight_limits(bits)))
    return terms * weight * ((1 << operator.precision.activation_bits) - 1)


def is_coded(node: Node) -> bool:
    """Whether a node's weights are codes."""
    operator = node.operator
    return isinstance(operator, Conv2d | Linear) and operator.precision.weights != "real"


def coded_operator(node: Node) -> Conv2d | Linear:
    operator = node.operator
    assert isinstance(operator, Conv2d | Linear)
    assert operator.precision.weights != "real", f"{node.name} has real weights"
    return operator
