"""Spelled out: products and limits of a draft become activations and gates of ours."""

from typing import cast

import numpy as np

from latency_models.onnx.drafts.draft import Draft, DraftNode, Origin, UnreadableError
from latency_models.onnx.drafts.patterns import (
    HARD_SIGMOID,
    LONGEST,
    Chain,
    find_product,
    near_one,
    ramp_of,
    uniform,
)
from latency_models.onnx.drafts.pieces import Affine, Clip, Product
from search_spaces.graphs.activations import ACTIVATIONS, Activation
from search_spaces.graphs.operators import Activate, Scale


def find_activations(draft: Draft) -> None:
    """Puts one activation wherever several nodes compute it, and gates where maps are scaled."""
    for node in list(draft.nodes.values()):
        if isinstance(node.operator, Product):
            if found := find_product(draft, node):
                put(
                    draft,
                    node,
                    found.root,
                    found.activation,
                    (found.inner, 0.0),
                    (found.outer, 0.0),
                )
            else:
                put_gate(draft, node)
    draft.tidy()
    for node in list(draft.nodes.values()):
        if isinstance(node.operator, Clip):
            put_limits(draft, node)
    draft.tidy()


def put_gate(draft: Draft, node: DraftNode) -> None:
    """Makes a product a scale, where one of its maps has one number per channel."""
    for inputs in (node.inputs, node.inputs[::-1]):
        if draft.shape(inputs[1]) == (node.shape[0], 1, 1):
            draft.put(node, operator=Scale(), inputs=inputs)
            return


def put(
    draft: Draft,
    node: DraftNode,
    root: str,
    activation: str,
    before: tuple[float, float],
    after: tuple[float, float],
) -> None:
    """Makes a node an activation of a map, a factor and a term before it and others behind."""
    if activation not in ACTIVATIONS:
        raise UnreadableError(
            f"{node.origin} is the activation {activation}; train with one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    known = Activate(cast(Activation, activation))
    inside = Origin(node.origin.node, node.origin.kind, "", node.origin.name)
    if before != (1.0, 0.0):
        root = draft.add(Affine(), (root,), inside, affine_arrays(node.shape[0], *before))
    if after == (1.0, 0.0):
        draft.put(node, operator=known, inputs=(root,), arrays={})
        return
    root = draft.add(known, (root,), inside)
    arrays = affine_arrays(node.shape[0], *after)
    draft.put(node, operator=Affine(), inputs=(root,), arrays=arrays)


def affine_arrays(channels: int, factor: float, term: float) -> dict[str, np.ndarray]:
    return {
        "gain": np.full(channels, factor, np.float32),
        "term": np.full(channels, term, np.float32),
    }


def put_limits(draft: Draft, node: DraftNode) -> None:
    """Makes limits one of our activations, between factors and terms where they need them."""
    chain: Chain = (node,)
    (root,) = node.inputs
    while root in draft.nodes and uniform(draft.nodes[root]) and len(chain) < LONGEST:
        chain, root = (draft.nodes[root], *chain), draft.nodes[root].inputs[0]
    ramp = ramp_of(chain)
    assert ramp is not None
    if (factor := ramp.times(HARD_SIGMOID)) is not None:
        inner = near_one(6 * ramp.slope / factor)
        put(draft, node, root, "hardsigmoid", (inner, 0.0), (near_one(factor), 0.0))
        return
    low, high = node.operator.low, node.operator.high
    (before,) = node.inputs
    if low == 0 and high in (6, np.inf):
        put(draft, node, before, "relu" if high > 6 else "relu6", (1.0, 0.0), (1.0, 0.0))
    elif low == -np.inf and high == np.inf:
        draft.put(node, operator=Affine(), arrays=affine_arrays(node.shape[0], 1.0, 0.0))
    elif high == np.inf:  # low + relu(x - low)
        put(draft, node, before, "relu", (1.0, -low), (1.0, low))
    elif low == -np.inf:  # high - relu(high - x)
        put(draft, node, before, "relu", (-1.0, high), (-1.0, high))
    else:  # low + relu6((x - low) * 6 / (high - low)) * (high - low) / 6
        unit = (high - low) / 6
        put(draft, node, before, "relu6", (1 / unit, -low / unit), (unit, low))
