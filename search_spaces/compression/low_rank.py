"""Low rank: a convolution or linear layer as two or three smaller ones.

The last factor keeps the layer's name, bias, norm and activation, so that readers, sums and
training see no difference; the others come before it and have none. Padding stays exact, as
zeros outside a map are zeros after any factor without bias.

Shape letters: O output channels, I input channels; kh, kw sides of a kernel.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression import factors
from search_spaces.compression.factors import Matrix, Rank
from search_spaces.graphs.cost import MACS
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d, Linear

Responses = NDArray[np.floating]
# What the kernels of a scheme are, for a kernel (O, I, kh, kw); a linear layer has windows of one.
SCHEMES: dict[str, Callable[[Matrix, Rank], tuple[Matrix, ...]]] = {
    "spatial": factors.spatial,
    "channel_in": factors.fewer_inputs,
    "channel_out": factors.fewer_outputs,
    "tucker": factors.tucker,
}
LINEAR_SCHEME = "svd"
DATA_SCHEME = "responses"


@dataclass(frozen=True, slots=True)
class Factorisation:
    """A layer as several, ready to be put in its place.

    Attributes:
        layer: The layer's name, and that of the last factor.
        scheme: How it was factorised.
        ranks: Channels between the factors.
        nodes: The factors, in order.
        arrays: Their arrays.
        macs: Multiply-accumulates of the layer and of the factors.
        params: Numbers in the weights of the layer and of the factors.
        error: What is lost of the weight, as a share of its Frobenius norm.
    """

    layer: str
    scheme: str
    ranks: tuple[int, ...]
    nodes: tuple[Node, ...]
    arrays: Mapping[str, Array]
    macs: tuple[int, int]
    params: tuple[int, int]
    error: float

    @property
    def saves(self) -> bool:
        """Whether the factors take fewer multiply-accumulates than the layer."""
        return self.macs[1] < self.macs[0]


def candidates(
    model: Model, name: str, rank: Rank, responses: Responses | None = None
) -> dict[str, Factorisation]:
    """Returns every factorisation of a layer at a rank, by scheme, whether it saves or not.

    Args:
        responses: What the layer gives on data (samples, O), before bias, norm and activation, as
            `linear_part` computes it; with it, the scheme "responses" is there as well.

    Raises:
        UserError: If the layer cannot be factorised; the message says why.
    """
    node = factorisable(model, name)
    kernel = kernel_of(model, node)
    found: dict[str, tuple[Matrix, ...]]
    if isinstance(node.operator, Linear):
        found = {LINEAR_SCHEME: factors.fewer_outputs(kernel, rank)}
    else:
        square = kernel.shape[2:] != (1, 1)
        found = {
            scheme: kernels(kernel, rank)
            for scheme, kernels in SCHEMES.items()
            if square or scheme == "channel_out"
        }
    made = {scheme: built(model, node, scheme, kernels) for scheme, kernels in found.items()}
    if responses is not None:
        check_responses(node, responses)
        *projected, term = factors.of_responses(kernel, responses.astype(np.float64), rank)
        made[DATA_SCHEME] = built(model, node, DATA_SCHEME, tuple(projected), term)
    return made


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


def kernel_of(model: Model, node: Node) -> Matrix:
    """Returns a layer's weight as a kernel (O, I, kh, kw)."""
    weight = model.arrays[f"{node.name}.weight"].astype(np.float64)
    return weight if weight.ndim == 4 else weight[:, :, None, None]


def built(
    model: Model, node: Node, scheme: str, kernels: tuple[Matrix, ...], term: Matrix | None = None
) -> Factorisation:
    """Returns the factorisation that kernels in a row are, the last one with a term (O,) more."""
    graph = model.graph
    arrays = {
        f"{node.name}.{name}": model.arrays[f"{node.name}.{name}"]
        for name in node.operator.array_shapes(*graph.input_shapes(node))
    }
    last = node.operator
    assert isinstance(last, Conv2d | Linear)
    if term is not None:
        last = with_term(node.name, last, term, arrays)
    names = (*fresh_names(graph, node.name, len(kernels) - 1), node.name)
    nodes: list[Node] = []
    shape, reads, macs = graph.input_shapes(node)[0], node.inputs, 0
    for index, (name, kernel) in enumerate(zip(names, kernels, strict=True)):
        operator = factor(last, kernel, kernels, index)
        made = Node(name, operator, reads, operator.output_shape(shape))
        weight = kernel if isinstance(operator, Conv2d) else kernel[:, :, 0, 0]
        arrays[f"{name}.weight"] = np.array(weight, np.float32, order="C")
        macs += MACS[type(operator)](operator, (shape,), made.shape)
        nodes.append(made)
        shape, reads = made.shape, (name,)
    assert shape == node.shape
    whole = kernel_of(model, node)
    lost = float(np.linalg.norm(whole - factors.product(kernels)))
    before = MACS[type(last)](last, graph.input_shapes(node), node.shape)
    return Factorisation(
        layer=node.name,
        scheme=scheme,
        ranks=tuple(len(kernel) for kernel in kernels[:-1]),
        nodes=tuple(nodes),
        arrays=arrays,
        macs=(before, macs),
        params=(whole.size, sum(kernel.size for kernel in kernels)),
        error=lost / (float(np.linalg.norm(whole)) or 1),
    )


def factor(
    whole: Conv2d | Linear, kernel: Matrix, kernels: tuple[Matrix, ...], index: int
) -> Conv2d | Linear:
    """Returns the operator of a factor: it takes the sides of the window that its kernel has.

    Where no kernel has a side, the stride there is the first factor's, which saves most.
    """
    is_last = index == len(kernels) - 1
    if isinstance(whole, Linear):
        if is_last:
            return whole
        return Linear(len(kernel), bias=False)
    tall, wide = (bears(kernels, index, axis) for axis in (0, 1))
    plain = Conv2d(len(kernel), norm="none", activation="none")
    base = whole if is_last else plain
    end = whole.end_padding
    made = replace(
        base,
        out_channels=len(kernel),
        kernel_size=(kernel.shape[2], kernel.shape[3]),
        stride=chosen(whole.stride, (1, 1), tall, wide),
        padding=chosen(whole.pads, (0, 0), tall, wide),
        dilation=chosen(whole.dilation, (1, 1), tall, wide),
        end_padding=None if end is None else chosen(end, (0, 0), tall, wide),
    )
    usual = replace(made, padding=None)
    return usual if usual.pads == made.pads else made


def bears(kernels: tuple[Matrix, ...], index: int, axis: int) -> bool:
    """Whether a factor moves along height (0) or width (1) as the whole layer does."""
    sides = [kernel.shape[2 + axis] for kernel in kernels]
    return index == int(np.argmax(sides))


def chosen(
    size: tuple[int, int], other: tuple[int, int], tall: bool, wide: bool
) -> tuple[int, int]:
    return (size if tall else other)[0], (size if wide else other)[1]


def with_term(
    name: str, operator: Conv2d | Linear, term: Matrix, arrays: dict[str, Array]
) -> Conv2d | Linear:
    """Adds a term (O,) to a layer's sums: to its bias, or to the mean that its norm takes off."""
    bias, mean = f"{name}.bias", f"{name}.norm.mean"
    if operator.bias or operator.norm == "none":
        arrays[bias] = (arrays.get(bias, 0) + term).astype(np.float32)
        return replace(operator, bias=True)
    assert mean in arrays, operator.norm
    arrays[mean] = (arrays[mean] - term).astype(np.float32)
    return operator


def fresh_names(graph: Graph, name: str, count: int) -> list[str]:
    taken = set(graph.shapes)
    numbered = (f"{name}.factor{number}" for number in range(1, len(taken) + count + 1))
    return [each for each in numbered if each not in taken][:count]


def substituted(model: Model, factorisation: Factorisation) -> Model:
    """Returns the model with a layer's factors in its place."""
    nodes: list[Node] = []
    for node in model.graph.nodes:
        nodes.extend(factorisation.nodes if node.name == factorisation.layer else (node,))
    graph = Graph(model.graph.input_shape, tuple(nodes))
    arrays = {**model.arrays, **factorisation.arrays}
    return Model(graph, {name: arrays[name] for name in graph.array_shapes()})


@dataclass(frozen=True, slots=True)
class LayerFactors:
    """What became of one layer: its factorisation, or None and why not."""

    layer: str
    chosen: Factorisation | None
    why: str


def factorised(
    model: Model,
    layers: Iterable[str],
    rank: Rank,
    responses: Mapping[str, Responses] | None = None,
) -> tuple[Model, tuple[LayerFactors, ...]]:
    """Returns the model with layers factorised where that saves multiply-accumulates.

    Each gets the scheme that saves most at this rank, and stays as it is where none does; which
    of them are faster on a device, only a timing tells.

    Args:
        responses: Of the layers that are approximated on data, as `candidates` takes them.

    Raises:
        UserError: If a layer does not exist or cannot be factorised.
    """
    records = []
    for name in layers:
        given = (responses or {}).get(name)
        found = candidates(model, name, rank, given)
        if given is not None:
            found = {DATA_SCHEME: found[DATA_SCHEME]}
        best = min(found.values(), key=lambda each: each.macs[1])
        if best.saves:
            model = substituted(model, best)
            records.append(LayerFactors(name, best, ""))
        else:
            why = f"{best.scheme} at rank {best.ranks} takes {best.macs[1]} MACs, not fewer than "
            records.append(LayerFactors(name, None, f"{why}the {best.macs[0]} of the layer"))
    return model, tuple(records)


def linear_part(model: Model, name: str) -> Model:
    """Returns the model up to a layer, which then has no bias, norm and activation.

    What it gives on data, with pixels as samples, are the layer's responses (samples, O).
    """
    node = factorisable(model, name)
    operator = node.operator
    assert isinstance(operator, Conv2d | Linear)
    bare = replace(node, operator=replace(operator, bias=False, norm="none", activation="none"))
    needed, nodes = {name}, []
    for each in reversed(model.graph.nodes):
        if each.name in needed:
            nodes.append(bare if each.name == name else each)
            needed.update(each.inputs)
    graph = Graph(model.graph.input_shape, tuple(reversed(nodes)))
    return Model(graph, {array: model.arrays[array] for array in graph.array_shapes()})
