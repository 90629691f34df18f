"""Patterns: activations and norms that a file spells out, found as one operator.

A file writes hard-swish as ``x * clip(x + 3, 0, 6) / 6``, SiLU as ``x * sigmoid(x)``, GELU by
``erf`` or by ``tanh`` of a cubic, each in any order of factors. What is limited twice and scaled
between is compared as one function: its limits, slope and height at zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, sqrt

import numpy as np

from latency_models.onnx.drafts.draft import Draft, DraftNode
from latency_models.onnx.drafts.pieces import Affine, Clip, CurvePiece, Power, Product
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.operators import Activate, Add

LONGEST = 6  # steps of a chain of functions of one map
CUBIC = 0.044715  # GELU's approximation, Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415


@dataclass(frozen=True, slots=True)
class Ramp:
    """``clip(slope * x + height, low, high)`` with a slope that is not zero."""

    slope: float = 1.0
    height: float = 0.0
    low: float = -np.inf
    high: float = np.inf

    def scaled(self, factor: float, term: float) -> "Ramp":
        ends = sorted((self.low * factor + term, self.high * factor + term))
        return Ramp(self.slope * factor, self.height * factor + term, ends[0], ends[1])

    def limited(self, low: float, high: float) -> "Ramp":
        return Ramp(
            self.slope,
            self.height,
            float(np.clip(self.low, low, high)),
            float(np.clip(self.high, low, high)),
        )

    def times(self, shape: "Ramp") -> float | None:
        """Returns the factor by which this is another ramp of the same slope's unit; or None."""
        if not (np.isfinite(self.high) and self.low == 0 and self.high > 0):
            return None
        factor = self.high / shape.high
        same = isclose(self.height, shape.height * factor, rel_tol=1e-5)
        return factor if same and self.slope > 0 else None


HARD_SIGMOID = Ramp(1 / 6, 0.5, 0.0, 1.0)


def uniform(node: DraftNode) -> tuple[float, float] | None:
    """Returns factor and term of a piece that has the same for all channels; None for others."""
    if not isinstance(node.operator, Affine):
        return None
    gain, term = node.arrays["gain"], node.arrays["term"]
    if not len(gain) or (gain != gain[0]).any() or (term != term[0]).any() or gain[0] == 0:
        return None
    return float(gain[0]), float(term[0])


Chain = tuple[DraftNode, ...]  # functions of one map, the first one first


def chains(draft: Draft, name: str) -> dict[str, Chain]:
    """Returns the maps that a map is a function of, number by number, each with the functions."""
    found: dict[str, Chain] = {name: ()}
    chain: Chain = ()
    while name in draft.nodes and len(chain) < LONGEST:
        node = draft.nodes[name]
        single = isinstance(node.operator, Affine | Clip | CurvePiece | Activate | Power)
        root = node.inputs[0] if single else cubic_root(draft, node)
        if root is None:
            break
        chain, name = (node, *chain), root
        found[name] = chain
    return found


def cubic_root(draft: Draft, node: DraftNode) -> str | None:
    """Returns x where a node is ``x + 0.044715 x^3``, however it is written; None elsewhere."""
    if isinstance(node.operator, Add):
        for linear, other in (node.inputs, node.inputs[::-1]):
            scale, term, powered = scaled_root(draft, other)
            is_cube = term == 0 and is_power(draft, powered, linear, 3)
            if is_cube and isclose(scale, CUBIC, rel_tol=1e-4):
                return linear
    if isinstance(node.operator, Product):
        for linear, other in (node.inputs, node.inputs[::-1]):
            scale, term, powered = scaled_root(draft, other)
            is_square = isclose(term, 1, rel_tol=1e-6) and is_power(draft, powered, linear, 2)
            if is_square and isclose(scale, CUBIC, rel_tol=1e-4):
                return linear
    return None


def scaled_root(draft: Draft, name: str) -> tuple[float, float, str]:
    """Returns factor, term and the map that they are of, for a map that is no more than that."""
    factor, term = 1.0, 0.0
    while name in draft.nodes and (values := uniform(draft.nodes[name])):
        factor, term = factor * values[0], term + factor * values[1]
        name = draft.nodes[name].inputs[0]
    return factor, term, name


def is_power(draft: Draft, name: str, root: str, exponent: int) -> bool:
    node = draft.nodes.get(name)
    if node is None:
        return False
    if isinstance(node.operator, Power):
        return node.operator.exponent == exponent and node.inputs == (root,)
    if not isinstance(node.operator, Product):
        return False
    if exponent == 2:
        return node.inputs == (root, root)
    return any(
        left == root and is_power(draft, right, root, exponent - 1)
        for left, right in (node.inputs, node.inputs[::-1])
    )


@dataclass(frozen=True, slots=True)
class Found:
    """``outer * activation(inner * x)``."""

    activation: str
    root: str
    inner: float = 1.0
    outer: float = 1.0


def find_product(draft: Draft, node: DraftNode) -> Found | None:
    """Returns the activation that a product of two functions of one map is; None if none."""
    left, right = (chains(draft, name) for name in node.inputs)
    for root in left.keys() & right.keys():
        for scales, gate in ((left[root], right[root]), (right[root], left[root])):
            factor = factor_of(scales)
            if factor is None:
                continue
            for recognise in (hard_swish, silu, gelu, gelu_tanh):
                if found := recognise(root, gate):
                    return Found(found.activation, root, found.inner, found.outer * factor)
    return None


def factor_of(chain: Chain) -> float | None:
    """Returns the factor that a chain is; None where it is more than one."""
    factor = 1.0
    for node in chain:
        values = uniform(node)
        if values is None or values[1] != 0:
            return None
        factor *= values[0]
    return factor


def ramp_of(chain: Chain) -> Ramp | None:
    """Returns the ramp that a chain of factors, terms and limits is; None if it is none."""
    ramp = Ramp()
    for node in chain:
        does = node.operator
        if isinstance(does, Clip):
            ramp = ramp.limited(does.low, does.high)
        elif isinstance(does, Activate) and does.activation in LIMITS:
            ramp = ramp.limited(*LIMITS[does.activation])
        elif values := uniform(node):
            ramp = ramp.scaled(*values)
        else:
            return None
    return ramp


LIMITS: Mapping[Activation, tuple[float, float]] = {"relu": (0, np.inf), "relu6": (0, 6)}


def hard_swish(root: str, gate: Chain) -> Found | None:
    """x * clip(s x + 1/2, 0, 1) is hardswish(6 s x) / (6 s)."""
    ramp = ramp_of(gate)
    if ramp is None or (factor := ramp.times(HARD_SIGMOID)) is None:
        return None
    inner = near_one(6 * ramp.slope / factor)
    return Found("hardswish", root, inner, near_one(factor / inner))


def silu(root: str, gate: Chain) -> Found | None:
    """x * sigmoid(b x) is silu(b x) / b."""
    for index, node in enumerate(gate):
        does = node.operator
        if isinstance(does, Activate) and str(does.activation) == "sigmoid":
            inner, outer = factor_of(gate[:index]), factor_of(gate[index + 1 :])
            if inner is not None and outer is not None and inner > 0:
                return Found("silu", root, near_one(inner), outer / inner)
    return None


def gelu(root: str, gate: Chain) -> Found | None:
    """x * (1 + erf(x / sqrt 2)) is 2 gelu(x)."""
    return by_curve(root, gate, "erf", 1 / sqrt(2), "gelu")


def gelu_tanh(root: str, gate: Chain) -> Found | None:
    """x * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) is 2 gelu_tanh(x)."""
    rest = [node for node in gate if not isinstance(node.operator, Add | Product)]
    if len(gate) - len(rest) != 1 or not isinstance(gate[0].operator, Add | Product):
        return None
    return by_curve(root, tuple(rest), "tanh", sqrt(2 / np.pi), "gelu_tanh")


def by_curve(root: str, gate: Chain, kind: str, scale: float, activation: str) -> Found | None:
    for index, node in enumerate(gate):
        if node.operator == CurvePiece(kind):  # type: ignore[arg-type]
            inner = factor_of(gate[:index])
            ramp = ramp_of(gate[index + 1 :])
            if inner is None or ramp is None or not isclose(inner, scale, rel_tol=1e-4):
                return None
            if not isclose(ramp.slope, ramp.height, rel_tol=1e-5) or np.isfinite(ramp.high):
                return None
            return Found(activation, root, 1.0, 2 * ramp.slope)
    return None


def near_one(factor: float) -> float:
    """Returns 1 for what is 1 but for rounding."""
    return 1.0 if isclose(factor, 1, rel_tol=1e-5) else factor
