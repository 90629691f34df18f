"""Model: a graph and its named arrays; what training gives and every export reads.

Arrays are float32. Names and layouts are those of ``Operator.array_shapes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.graph import Graph, Node
from search_spaces.operators import NORM_ARRAYS, Conv2d

Array = NDArray[np.float32]
NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Model:
    """A network with its weights.

    Raises:
        ValueError: If an array is missing, unknown, or of another shape than the graph says.
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


def random_model(graph: Graph, rng: np.random.Generator) -> Model:
    """Returns a model with random weights that keep activations at unit scale.

    Weights are drawn with variance ``2 / fan_in``, so that no map vanishes or overflows and a
    timing run meets ordinary numbers; norm statistics are drawn around the identity, so that
    folding them is visible.
    """
    return Model(
        graph,
        {name: random_array(name, shape, rng) for name, shape in graph.array_shapes().items()},
    )


def random_array(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if name.endswith((".norm.weight", ".norm.variance")):
        drawn = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        drawn = rng.normal(0, 0.1, shape)
    else:
        drawn = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return drawn.astype(np.float32)


def fold_batch_norm(model: Model) -> Model:
    """Returns the model that is deployed: every batch norm folded into its convolution.

    ``w' = w * g / sqrt(v + eps)`` and ``b' = (b - mean) * g / sqrt(v + eps) + beta``, in float64.
    """
    nodes: list[Node] = []
    arrays = dict(model.arrays)
    for node in model.graph.nodes:
        operator = node.operator
        if isinstance(operator, Conv2d) and operator.norm == "batch":
            fold_node(node.name, operator.bias, arrays)
            node = replace(node, operator=replace(operator, norm="none", bias=True))
        nodes.append(node)
    return Model(Graph(model.graph.input_shape, tuple(nodes)), arrays)


def fold_node(name: str, has_bias: bool, arrays: dict[str, Array]) -> None:
    gamma, beta, mean, variance = (
        arrays.pop(f"{name}.{part}").astype(np.float64) for part in NORM_ARRAYS
    )
    factor = gamma / np.sqrt(variance + NORM_EPSILON)
    weight = arrays[f"{name}.weight"]
    bias = arrays[f"{name}.bias"] if has_bias else np.zeros_like(mean)
    arrays[f"{name}.weight"] = (weight * factor[:, None, None, None]).astype(np.float32)
    arrays[f"{name}.bias"] = ((bias - mean) * factor + beta).astype(np.float32)
