"""Low rank: convolutions and linear layers as two or three smaller ones, where that saves.

Shape letters: O output channels.
"""

from collections.abc import Callable, Mapping
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression import factors
from search_spaces.compression.factorisation import (
    Factorisation,
    KernelShapes,
    built,
    kernel_of,
    macs_of,
)
from search_spaces.compression.factors import Matrix, Rank
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Conv2d, Linear

Responses = NDArray[np.floating]
# What the kernels of a scheme are, for a kernel (O, I, kh, kw); a linear layer has windows of one.
SCHEMES: Mapping[str, Callable[[Matrix, Rank], tuple[Matrix, ...]]] = {
    "spatial": factors.spatial,
    "channel_in": factors.fewer_inputs,
    "channel_out": factors.fewer_outputs,
    "tucker": factors.tucker,
}
LINEAR_SCHEME = "svd"
DATA_SCHEME = "responses"


def candidates(
    model: Model, name: str, rank: Rank, responses: Responses | None = None
) -> dict[str, Factorisation]:
    """Returns every factorisation of a layer at a rank, by scheme, whether it saves or not.

    Args:
        responses: What the layer gives on data (samples, O), before bias, norm and activation;
            with it, the scheme "responses" is there as well.

    Raises:
        UserError: If the layer cannot be factorised; the message says why.
    """
    node = factorisable(model, name)
    kernel = kernel_of(model, node)
    found = {scheme: schemes(node)[scheme](kernel, rank) for scheme in schemes(node)}
    made = {scheme: built(model, node, scheme, kernels) for scheme, kernels in found.items()}
    if responses is not None:
        check_responses(node, responses)
        *projected, term = factors.of_responses(kernel, responses.astype(np.float64), rank)
        made[DATA_SCHEME] = built(model, node, DATA_SCHEME, tuple(projected), term)
    return made


def within_macs(
    model: Model, name: str, share: float, multiple: int = 1
) -> dict[str, Factorisation]:
    """Returns the largest factorisation of each scheme that takes ``share`` of a layer's MACs.

    Schemes that take more even at the least rank, of one ``multiple``, are left out.

    Raises:
        UserError: If the layer cannot be factorised, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UserError(f"a share of MACs must be above 0 and below 1, got {share}")
    node = factorisable(model, name)
    kernel = kernel_of(model, node)
    made = {}
    for scheme, kernels in schemes(node).items():
        ranks = range(multiple, max(kernel.shape) * max(kernel.shape[2:]) + 1, multiple)
        costs = (macs_of(model.graph, node, shapes_of(scheme, kernel, rank)) for rank in ranks)
        fitting = takewhile(lambda macs: macs <= share * macs_of(model.graph, node), costs)
        if count := multiple * sum(1 for _ in fitting):
            made[scheme] = built(model, node, scheme, kernels(kernel, Rank(count=count)))
    return made


def shapes_of(scheme: str, kernel: Matrix, rank: int) -> KernelShapes:
    """Returns the shapes of a scheme's kernels at a rank, as large as it can be at most."""
    out, inputs, kh, kw = kernel.shape
    if scheme == "spatial":
        rank = min(rank, inputs * kh, out * kw)
        return (rank, inputs, kh, 1), (out, rank, 1, kw)
    if scheme == "tucker":
        into, made = min(rank, inputs), min(rank, out)
        return (into, inputs, 1, 1), (made, into, kh, kw), (out, made, 1, 1)
    if scheme == "channel_in":
        rank = min(rank, inputs, out * kh * kw)
        return (rank, inputs, 1, 1), (out, rank, kh, kw)
    rank = min(rank, out, inputs * kh * kw)
    return (rank, inputs, kh, kw), (out, rank, 1, 1)


def schemes(node: Node) -> Mapping[str, Callable[[Matrix, Rank], tuple[Matrix, ...]]]:
    """Returns how a layer may be factorised; with windows of one, there is one way."""
    if isinstance(node.operator, Linear):
        return {LINEAR_SCHEME: factors.fewer_outputs}
    assert isinstance(node.operator, Conv2d)
    if node.operator.kernel_size == (1, 1):
        return {"channel_out": factors.fewer_outputs}
    return SCHEMES


def factorisable(model: Model, name: str) -> Node:
    """Returns the layer called ``name``.

    Raises:
        UserError: If there is none, or it is none that can be factorised.
    """
    layers = {
        node.name: node for node in model.graph.nodes if isinstance(node.operator, Conv2d | Linear)
    }
    if name not in layers:
        raise UserError(f"no convolution or linear layer is called {name!r}: {', '.join(layers)}")
    operator = layers[name].operator
    assert isinstance(operator, Conv2d | Linear)
    if operator.precision.weights != "real" or operator.precision.activations != "real":
        raise UserError(
            f"{name}: layers are factorised at fp32, got {operator.precision}; quantize afterwards"
        )
    if isinstance(operator, Conv2d) and operator.groups > 1:
        raise UserError(
            f"{name}: a convolution in {operator.groups} groups is factorised already; leave it"
        )
    return layers[name]


def check_responses(node: Node, responses: Responses) -> None:
    if responses.ndim != 2 or responses.shape[1] != node.shape[0] or len(responses) < 2:
        raise UserError(
            f"{node.name}: responses must be (samples, {node.shape[0]}) with two samples or more, "
            f"got {responses.shape}"
        )
    if not np.isfinite(responses).all():
        raise UserError(f"{node.name}: a response is not a finite number; its weights are broken")


def substituted(model: Model, factorisation: Factorisation) -> Model:
    """Returns the model with a layer's factors in its place."""
    nodes: list[Node] = []
    for node in model.graph.nodes:
        nodes.extend(factorisation.nodes if node.name == factorisation.layer else (node,))
    graph = Graph(model.graph.input_shape, tuple(nodes))
    arrays = {**model.arrays, **factorisation.arrays}
    return Model(graph, {name: arrays[name] for name in graph.array_shapes()})
