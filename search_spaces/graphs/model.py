"""Model: a graph and its named arrays; what training gives and every export reads.

Arrays are float32. Names and layouts are those of ``Operator.array_shapes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.fusion import joined_norms
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import (
    FOLDED_ARRAYS,
    NORM_ARRAYS,
    BatchNorm,
    Conv2d,
    Linear,
    Norm,
    Operator,
    Quantize,
)
from search_spaces.graphs.precision import Sparsity

Array = NDArray[np.float32]
NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Model:
    """A network with its weights.

    Raises:
        ValueError: If an array is missing, unknown, or of another shape than the graph says, or a
            layer's weights are not as sparse as it states.
    """

    graph: Graph
    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        wanted = self.graph.array_shapes()
        if missing := sorted(wanted.keys() - self.arrays.keys()):
            raise ValueError(f"the graph needs array {missing[0]!r}, which is not given")
        if unknown := sorted(self.arrays.keys() - wanted.keys()):
            raise ValueError(f"array {unknown[0]!r} belongs to no node of the graph")
        for name, shape in wanted.items():
            if self.arrays[name].shape != shape:
                raise ValueError(
                    f"array {name!r} has shape {self.arrays[name].shape}, the graph needs {shape}"
                )
        for node in self.graph.nodes:
            if isinstance(node.operator, Linear) and node.operator.sparsity is not None:
                name = f"{node.name}.weight"
                check_sparsity(name, node.operator.sparsity, self.arrays[name])


def check_sparsity(name: str, sparsity: Sparsity, weight: Array) -> None:
    """Raises UserError if ``weight`` is not as sparse, or has more values, than is stated."""
    remedy = "state what it has (sparsity_of), or leave sparsity out"
    kept, most = int(np.count_nonzero(weight)), sparsity.kept(weight.size)
    if kept > most:
        raise UserError(
            f"array {name!r} may have {most} weights that are not zero (density "
            f"{sparsity.density:g}), got {kept}; {remedy}"
        )
    if sparsity.bits < 32 and kept > 1 << sparsity.bits:
        values = len(np.unique(weight[weight != 0]))
        if values > 1 << sparsity.bits:
            raise UserError(
                f"array {name!r} may have {1 << sparsity.bits} different weights "
                f"({sparsity.bits} bits), got {values}; {remedy}"
            )


def random_model(graph: Graph, rng: np.random.Generator) -> Model:
    """Returns a model with random weights that keep activations at unit scale.

    Weights are drawn with variance ``2 / fan_in``, so that no map vanishes or overflows and a
    timing run meets ordinary numbers; norm statistics are drawn around the identity, so that
    folding them is visible; steps let the codes reach over three standard deviations.
    """
    arrays = {}
    for node in graph.nodes:
        shapes = node.operator.array_shapes(*graph.input_shapes(node))
        for name, shape in shapes.items():
            if name.endswith("step"):
                arrays[f"{node.name}.{name}"] = random_step(node.operator, shapes, rng)
            elif name == "weight" and isinstance(node.operator, Linear) and node.operator.sparsity:
                weight = random_sparse(node.operator.sparsity, shape, rng)
                arrays[f"{node.name}.{name}"] = weight
            else:
                arrays[f"{node.name}.{name}"] = random_array(name, shape, rng)
    return Model(graph, arrays)


def random_step(
    operator: Operator, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> Array:
    if isinstance(operator, Quantize):
        return np.array(rng.uniform(2.5, 3.5) / operator.highest, np.float32)
    assert isinstance(operator, Conv2d | Linear)
    half = (1 << operator.precision.weight_bits - 1) - 0.5
    deviation = np.sqrt(2 / np.prod(shapes["weight"][1:]))
    steps = rng.uniform(2.5, 3.5, shapes["weight.step"]) * deviation / half
    return steps.astype(np.float32)


def random_array(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if name.endswith(("norm.weight", "norm.variance", "gain")):
        drawn = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        drawn = rng.normal(0, 0.1, shape)
    else:
        drawn = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return drawn.astype(np.float32)


def random_sparse(sparsity: Sparsity, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Weights of which as many are kept, with as many values, as a sparse layer may have."""
    weight = np.zeros(shape, np.float32)
    kept = sparsity.kept(weight.size)
    deviation = np.sqrt(2 / max(1, kept / shape[0]))
    places = rng.permutation(weight.size)[:kept]
    values = rng.normal(0, deviation, kept if sparsity.bits == 32 else 1 << sparsity.bits)
    drawn = values if sparsity.bits == 32 else rng.choice(values, kept)
    weight.ravel()[places] = drawn
    return weight


def fold_batch_norm(model: Model) -> Model:
    """Returns the model that is deployed: every batch norm folded into its node.

    Real weights take the factor in: ``w' = w * f`` and ``b' = (b - mean) * f + beta`` with
    ``f = g / sqrt(v + eps)``, in float64. Coded weights and 1-bit quantizers keep factor and term
    beside them, as ``gain`` and ``bias``, and so does a norm on its own, unless it joins a layer
    (``joined_norms``): then it is gone, and who read it reads the layer.
    """
    nodes: list[Node] = []
    arrays = dict(model.arrays)
    for node in model.graph.nodes:
        operator = node.operator
        coded = isinstance(operator, Conv2d | Linear) and operator.precision.weights != "real"
        if isinstance(operator, Conv2d | Linear) and coded and operator.norm != "folded":
            fold_coded(node.name, node.shape[0], operator.bias, operator.norm, arrays)
            operator = replace(operator, norm="folded", bias=False)
        elif isinstance(operator, Conv2d) and operator.norm == "batch":
            fold_node(node.name, operator.bias, arrays)
            operator = replace(operator, norm="none", bias=True)
        elif isinstance(operator, Quantize | BatchNorm) and operator.norm == "batch":
            fold_coded(node.name, node.shape[0], False, "batch", arrays)
            operator = replace(operator, norm="folded")
        nodes.append(replace(node, operator=operator))
    graph = Graph(model.graph.input_shape, tuple(nodes))
    return Model(join_norms(graph, arrays), arrays)


def join_norms(graph: Graph, arrays: dict[str, Array]) -> Graph:
    """Moves folded norms into the layers that they join; returns the graph without them."""
    joined = joined_norms(graph)
    norms = {layer.name: graph.node(name) for name, layer in joined.items()}
    if not joined:
        return graph
    nodes = []
    for node in graph.nodes:
        if node.name in joined:
            continue
        inputs = tuple(joined[name].name if name in joined else name for name in node.inputs)
        operator = node.operator
        if node.name in norms:
            operator = join_norm(node, norms[node.name], arrays)
        nodes.append(replace(node, inputs=inputs, operator=operator))
    return Graph(graph.input_shape, tuple(nodes))


def join_norm(layer: Node, norm: Node, arrays: dict[str, Array]) -> Operator:
    """Multiplies the factor of a folded norm into a layer, and returns what the layer is then."""
    operator, does = layer.operator, norm.operator
    assert isinstance(operator, Conv2d | Linear)
    assert isinstance(does, BatchNorm)
    gain, term = (arrays.pop(f"{norm.name}.{part}").astype(np.float64) for part in FOLDED_ARRAYS)
    before = arrays.get(f"{layer.name}.bias", np.zeros_like(gain))
    scaled = f"{layer.name}.{'weight' if operator.norm == 'none' else 'gain'}"
    each = gain.reshape(-1, *(1,) * (arrays[scaled].ndim - 1))
    arrays[scaled] = (arrays[scaled] * each).astype(np.float32)
    arrays[f"{layer.name}.bias"] = (before * gain + term).astype(np.float32)
    bias = operator.bias or operator.norm == "none"
    return replace(operator, bias=bias, activation=does.activation)


def fold_coded(
    name: str, channels: int, has_bias: bool, norm: Norm, arrays: dict[str, Array]
) -> None:
    factor = np.ones(channels)
    bias = arrays.pop(f"{name}.bias").astype(np.float64) if has_bias else np.zeros(channels)
    if norm == "batch":
        gamma, beta, mean, variance = norm_arrays(name, arrays)
        factor = gamma / np.sqrt(variance + NORM_EPSILON)
        bias = (bias - mean) * factor + beta
    arrays[f"{name}.gain"] = factor.astype(np.float32)
    arrays[f"{name}.bias"] = bias.astype(np.float32)


def fold_node(name: str, has_bias: bool, arrays: dict[str, Array]) -> None:
    gamma, beta, mean, variance = norm_arrays(name, arrays)
    factor = gamma / np.sqrt(variance + NORM_EPSILON)
    weight = arrays[f"{name}.weight"]
    bias = arrays[f"{name}.bias"] if has_bias else np.zeros_like(mean)
    arrays[f"{name}.weight"] = (weight * factor[:, None, None, None]).astype(np.float32)
    arrays[f"{name}.bias"] = ((bias - mean) * factor + beta).astype(np.float32)


def norm_arrays(name: str, arrays: dict[str, Array]) -> list[NDArray[np.float64]]:
    return [arrays.pop(f"{name}.{part}").astype(np.float64) for part in NORM_ARRAYS]
