"""Folding: factors, terms, norms and borders of a draft go into the layers beside them.

A norm behind a convolution becomes that convolution's own, as networks are trained and slimmed
with it; a factor or term goes into the layer before it, else into those behind it. All in
float64, and kept in float32.

Shape letters: O output channels, I input channels of a group.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.onnx.drafts.draft import Draft, DraftNode
from latency_models.onnx.drafts.pieces import Affine, Border, NormPiece
from search_spaces.graphs import operators as ops
from search_spaces.graphs.activations import ACTIVATIONS, Activation
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.model import NORM_EPSILON
from search_spaces.graphs.operators import NORM_ARRAYS

Floats = NDArray[np.float64]


def fold(draft: Draft) -> None:
    """Folds all that can be, until nothing changes."""
    changed = True
    while changed:
        changed = False
        for node in list(draft.nodes.values()):
            if node.name in draft.nodes and draft.nodes[node.name] is node:
                changed |= fold_node(draft, node)
        draft.tidy()


def fold_node(draft: Draft, node: DraftNode) -> bool:
    """Folds one node where it can be; returns whether something changed."""
    does = node.operator
    if isinstance(does, Affine):
        return into_maker(draft, node) or into_readers(draft, node)
    if isinstance(does, NormPiece):
        return norm_into_maker(draft, node)
    if isinstance(does, Border):
        return border_into_readers(draft, node)
    return False


def only_maker(draft: Draft, node: DraftNode) -> DraftNode | None:
    """Returns what makes the map that a node reads, where nobody else reads it."""
    maker = draft.nodes.get(node.inputs[0])
    if maker is None or maker.name == draft.output:
        return None
    return maker if draft.readers()[maker.name] == [node] else None


def take_over(
    draft: Draft,
    node: DraftNode,
    maker: DraftNode,
    operator: Any,  # noqa: ANN401
    arrays: Mapping[str, Any],
) -> bool:
    """Puts a changed maker in the place of the node that reads it."""
    kept = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    origin = replace(maker.origin, value=node.origin.value)
    draft.put(node, operator=operator, inputs=maker.inputs, arrays=kept, origin=origin)
    return True


def doubles(node: DraftNode) -> dict[str, Floats]:
    return {name: array.astype(np.float64) for name, array in node.arrays.items()}


# Factors and terms


def into_maker(draft: Draft, node: DraftNode) -> bool:
    """Folds a factor and a term into the layer that makes the map."""
    gain, term = (node.arrays[name].astype(np.float64) for name in ("gain", "term"))
    if is_identity(gain, term) and node.inputs[0] != INPUT:
        return pass_on(draft, node)
    maker = only_maker(draft, node)
    if maker is None:
        return False
    does, has = maker.operator, doubles(maker)
    if isinstance(does, Affine):
        merged = {"gain": has["gain"] * gain, "term": has["term"] * gain + term}
        return take_over(draft, node, maker, does, merged)
    if isinstance(does, NormPiece):
        return take_over(draft, node, maker, does, has | scaled_norm(has, gain, term))
    is_layer_norm = isinstance(does, ops.LayerNorm)
    if not is_layer_norm and (
        not isinstance(does, ops.Conv2d | ops.Linear) or does.activation != "none"
    ):
        return False
    if not is_layer_norm and does.norm == "batch":
        return take_over(draft, node, maker, does, has | scaled_norm(has, gain, term))
    if is_layer_norm or does.norm == "folded":
        scaled = {"gain": has["gain"] * gain, "bias": has["bias"] * gain + term}
        return take_over(draft, node, maker, does, has | scaled)
    has["weight"] = has["weight"] * gain.reshape(-1, *(1,) * (has["weight"].ndim - 1))
    bias = has.get("bias", 0.0) * gain + term
    if does.bias or bias.any():
        does, has["bias"] = replace(does, bias=True), bias
    return take_over(draft, node, maker, does, has)


def is_identity(gain: Floats, term: Floats) -> bool:
    """Whether a factor and a term are nothing but rounding."""
    return bool(np.all(np.abs(gain - 1) < 1e-6) and np.all(np.abs(term) < 1e-9))


def pass_on(draft: Draft, node: DraftNode) -> bool:
    """Leaves a node out: whoever reads it reads what it read."""
    (source,) = node.inputs
    for reader in draft.readers()[node.name]:
        inputs = tuple(source if name == node.name else name for name in reader.inputs)
        draft.put(reader, inputs=inputs)
    if draft.output == node.name:
        draft.output = source
    del draft.nodes[node.name]
    return True


def scaled_norm(has: Mapping[str, Floats], gain: Floats, term: Floats) -> dict[str, Floats]:
    return {
        "norm.weight": has["norm.weight"] * gain,
        "norm.bias": has["norm.bias"] * gain + term,
    }


def into_readers(draft: Draft, node: DraftNode) -> bool:
    """Folds a factor and a term into those layers behind it that can take them."""
    gain, term = (node.arrays[name].astype(np.float64) for name in ("gain", "term"))
    changed = False
    for reader in draft.readers()[node.name]:
        does, has = reader.operator, doubles(reader)
        if isinstance(does, NormPiece) and gain.all():
            has["norm.mean"] = (has["norm.mean"] - term) / gain
            has["norm.weight"] = has["norm.weight"] * gain
        elif isinstance(does, ops.Conv2d) and does.norm in ("none", "batch"):
            if term.any() and any(does.pads + does.end_pads):
                continue
            does, has = conv_of_scaled(does, has, gain, term)
        elif isinstance(does, ops.Linear) and does.norm == "none":
            does, has = linear_of_scaled(does, has, gain, term)
        else:
            continue
        kept = {name: array.astype(np.float32) for name, array in has.items()}
        draft.put(reader, operator=does, inputs=node.inputs, arrays=kept)
        changed = True
    return changed


def conv_of_scaled(
    does: ops.Conv2d, has: dict[str, Floats], gain: Floats, term: Floats
) -> tuple[ops.Conv2d, dict[str, Floats]]:
    """Returns a convolution of ``gain * x + term`` as one of x; without borders, or terms."""
    outputs, inputs = has["weight"].shape[:2]
    group = np.arange(outputs) // (outputs // does.groups)
    channels = group[:, None] * inputs + np.arange(inputs)  # (O, I): those that each output reads
    added = (has["weight"].sum((2, 3)) * term[channels]).sum(1)
    has["weight"] = has["weight"] * gain[channels][:, :, None, None]
    if not added.any():
        return does, has
    if does.norm == "batch":
        has["norm.mean"] = has["norm.mean"] - added
        return does, has
    has["bias"] = has.get("bias", 0.0) + added
    return replace(does, bias=True), has


def linear_of_scaled(
    does: ops.Linear, has: dict[str, Floats], gain: Floats, term: Floats
) -> tuple[ops.Linear, dict[str, Floats]]:
    pixels = has["weight"].shape[1] // len(gain)
    each = np.repeat(term, pixels)
    added = has["weight"] @ each
    has["weight"] = has["weight"] * np.repeat(gain, pixels)
    if not added.any():
        return does, has
    has["bias"] = has.get("bias", 0.0) + added
    return replace(does, bias=True), has


# Norms


def norm_into_maker(draft: Draft, node: DraftNode) -> bool:
    """Makes a norm the convolution's own; that of a linear layer or of codes becomes a factor."""
    maker = only_maker(draft, node)
    does = maker.operator if maker else None
    if maker is None or not isinstance(does, ops.Conv2d | ops.Linear) or does.activation != "none":
        return False
    if isinstance(does, ops.Conv2d) and does.norm == "none":
        arrays = dict(maker.arrays) | dict(node.arrays)
        if does.bias:  # a norm takes any bias away again
            arrays["norm.mean"] = arrays["norm.mean"] - arrays.pop("bias")
        operator = replace(does, norm="batch", bias=False)
        return take_over(draft, node, maker, operator, arrays)
    gain, term = norm_as_affine(node.arrays)
    kept = {"gain": gain.astype(np.float32), "term": term.astype(np.float32)}
    draft.put(node, operator=Affine(), arrays=kept)
    return True


def norm_as_affine(arrays: Mapping[str, NDArray[Any]]) -> tuple[Floats, Floats]:
    gamma, beta, mean, variance = (arrays[name].astype(np.float64) for name in NORM_ARRAYS)
    gain = gamma / np.sqrt(variance + NORM_EPSILON)
    return gain, beta - mean * gain


# Borders


def border_into_readers(draft: Draft, node: DraftNode) -> bool:
    """Makes zeros around a map the padding of the windows that read it."""
    border, changed = node.operator, False
    for reader in draft.readers()[node.name]:
        if made := with_border(draft, reader.operator, border, node.inputs[0]):
            draft.put(reader, operator=made, inputs=node.inputs)
            changed = True
    return changed


def with_border(draft: Draft, does: Any, border: Border, source: str) -> ops.Operator | None:  # noqa: ANN401
    """Returns windows with a border as their padding; None where that is not the same."""
    first, last = (border.top, border.left), (border.bottom, border.right)
    if isinstance(does, ops.Conv2d) and does.precision.activations != "sign":
        return replace(does, **padded(added(does.pads, first), added(does.end_pads, last)))
    if isinstance(does, ops.AvgPool | ops.MaxPool):
        unpadded = not any(does.padding + does.end_pads)
        if isinstance(does, ops.AvgPool):
            fits = unpadded or does.count_include_pad
        else:
            fits = is_nonnegative(draft, source)
        if not fits or does.ceil_mode:
            return None
        begin, end = added(does.padding, first), added(does.end_pads, last)
        try:
            made = replace(does, **padded(begin, end))
        except ValueError:  # a border beyond half of the window
            return None
        return replace(made, count_include_pad=True) if isinstance(made, ops.AvgPool) else made
    return None


def added(pads: ops.Size, more: ops.Size) -> ops.Size:
    return pads[0] + more[0], pads[1] + more[1]


def padded(begin: ops.Size, end: ops.Size) -> dict[str, Any]:
    """Returns padding as the fields of an operator have it."""
    return {"padding": begin, "end_padding": None if end == begin else end}


KEEPS_SIGN = (ops.MaxPool, ops.AvgPool, ops.GlobalAvgPool, ops.ChannelSplit, ops.ChannelShuffle)


def is_nonnegative(draft: Draft, name: str) -> bool:
    """Whether a map has no negative numbers, as far as the operators before it tell."""
    while isinstance(draft.operator(name), KEEPS_SIGN):
        name = draft.nodes[name].inputs[0]
    does = draft.operator(name)
    if isinstance(does, ops.Concat):
        return all(is_nonnegative(draft, each) for each in draft.nodes[name].inputs)
    activation: Activation = getattr(does, "activation", "none")
    return ACTIVATIONS[activation].nonnegative
