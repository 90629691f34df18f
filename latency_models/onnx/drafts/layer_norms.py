"""Layer norms: what files before opset 17 spell out, found as one operator.

Torch writes ``(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon)``, each mean over the
channels of a pixel; others take the difference twice, or multiply by one over the root. Gain and
bias are a factor and a term behind it, which folding takes in.
"""

from math import isclose, sqrt

import numpy as np

from latency_models.onnx.drafts.draft import Draft, DraftNode
from latency_models.onnx.drafts.patterns import scaled_root
from latency_models.onnx.drafts.pieces import ChannelMean, CurvePiece, PerPixel, Power, Product
from search_spaces.graphs.operators import LayerNorm


def find_layer_norms(draft: Draft) -> None:
    """Puts one layer norm wherever several nodes compute it."""
    for node in list(draft.nodes.values()):
        if (found := layer_norm(draft, node)) is not None:
            root, epsilon, gain = found
            arrays = {
                "gain": np.full(node.shape[0], gain, np.float32),
                "bias": np.zeros(node.shape[0], np.float32),
            }
            draft.put(node, operator=LayerNorm(epsilon), inputs=(root,), arrays=arrays)
    draft.tidy()


def layer_norm(draft: Draft, node: DraftNode) -> tuple[str, float, float] | None:
    """Returns the map that a node normalises, epsilon and a gain; None if it is no layer norm.

    ``d / sqrt(f * v + e)`` is one with epsilon ``e / f``, times ``1 / sqrt(f)``.
    """
    if node.operator != PerPixel("product"):
        return None
    centred, inverse = node.inputs
    root, under_root = centred_root(draft, centred), inverse_root(draft, inverse)
    if root is None or under_root is None:
        return None
    factor, epsilon, variance = scaled_root(draft, under_root)
    if factor <= 0 or epsilon <= 0 or not is_variance(draft, variance, root):
        return None
    return root, epsilon / factor, 1 / sqrt(factor)


def inverse_root(draft: Draft, name: str) -> str | None:
    """Returns v where a map is ``1 / sqrt(v)``, or ``sqrt(1 / v)``."""
    kinds = set()
    for _ in range(2):
        does = draft.operator(name)
        if not isinstance(does, CurvePiece):
            return None
        kinds.add(does.kind)
        (name,) = draft.nodes[name].inputs
    return name if kinds == {"sqrt", "reciprocal"} else None


def is_variance(draft: Draft, name: str, root: str) -> bool:
    """Whether a map is the mean over channels of ``(x - mean(x)) ** 2``."""
    if not isinstance(draft.operator(name), ChannelMean):
        return False
    squared = draft.nodes[draft.nodes[name].inputs[0]] if name in draft.nodes else None
    if squared is None or squared.operator not in (Power(2), Product()):
        return False
    return all(centred_root(draft, each) == root for each in squared.inputs)


def centred_root(draft: Draft, name: str) -> str | None:
    """Returns x where a map is ``x - mean(x)``, the mean over channels; None elsewhere."""
    if draft.operator(name) != PerPixel("sum"):
        return None
    root, negated = draft.nodes[name].inputs
    factor, term, mean = scaled_root(draft, negated)
    if not isclose(factor, -1) or term != 0 or not isinstance(draft.operator(mean), ChannelMean):
        return None
    return root if draft.nodes[mean].inputs == (root,) else None
