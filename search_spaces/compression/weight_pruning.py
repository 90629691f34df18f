"""Weight pruning: single weights set to zero, those of the least magnitude first.

What is pruned are exact zeros in the weights of convolutions and linear layers at fp32; biases
and norms stay, and so does the graph. A zero that is there counts as pruned, so that pruning a
network again, further, is the same call with a larger amount.

*Source:* Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NIPS
2015, https://arxiv.org/abs/1506.02626, section 3: a layer's threshold is "a quality parameter
multiplied by the standard deviation of a layer's weights", here ``sensitivity``.

*Differs from the paper:* the deviation is of the weights that are left, so that a network that was
pruned before is not measured by its zeros.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import floor, isfinite
from types import MappingProxyType
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression.selection import Scope
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Array, Model
from search_spaces.quantization.codes import coded_operator, is_coded
from search_spaces.quantization.reprecision import layers

Rule = Literal["ratio", "threshold", "sensitivity"]
T = TypeVar("T")
Mask = NDArray[np.bool_]


def prune_weights(
    model: Model,
    rule: Rule,
    amount: float,
    *,
    scope: Scope = "global",
    exceptions: Mapping[str, float] = MappingProxyType({}),
) -> Model:
    """Returns the model with its smallest weights at zero.

    Args:
        rule: What ``amount`` is: the share of weights that is zero afterwards ("ratio"), the
            magnitude below which weights go ("threshold"), or that over the standard deviation of
            the layer's weights that are left ("sensitivity").
        scope: Of a ratio: "global" ranks the weights of all layers together, "layer" takes the
            same share of each. Of equal magnitudes, those that come first go.
        exceptions: Other amounts by names of layers, or patterns of them; of two that fit, the
            last counts. Such a layer is not ranked with the others; 0 leaves it as it is. A layer
            that is all zeros stays so.

    Raises:
        UserError: If an amount is out of bounds, a pattern fits no layer, weights are codes or not
            finite, or all weights of a layer would go.
    """
    check_rule(rule, scope)
    for each in (amount, *exceptions.values()):
        check_amount(rule, each)
    weights = real_weights(model)
    own = by_layer(weights, exceptions)
    alike = {name: weight for name, weight in weights.items() if name not in own}
    if rule == "ratio" and scope == "global":
        kept = kept_of_all(alike, amount)
    else:
        kept = {name: kept_of_layer(weight, rule, amount) for name, weight in alike.items()}
    kept |= {name: kept_of_layer(weights[name], rule, each) for name, each in own.items()}
    arrays = dict(model.arrays)
    for name, weight in weights.items():
        if weight.any() and not kept[name].any():
            raise UserError(
                f"{name}: all of its {weight.size} weights would be zero; lower the {rule}, or "
                "give the layer one of its own"
            )
        arrays[f"{name}.weight"] = np.where(kept[name], weight, np.float32(0))
    return Model(model.graph, arrays)


def check_rule(rule: str, scope: str) -> None:
    if rule not in get_args(Rule):
        raise UserError(f"a rule of pruning must be one of {', '.join(get_args(Rule))}: {rule!r}")
    if scope not in get_args(Scope):
        raise UserError(f"scope must be one of {', '.join(get_args(Scope))}, got {scope!r}")


def check_amount(rule: Rule, amount: float) -> None:
    """Raises UserError if weights cannot be pruned by so much."""
    most = 1.0 if rule == "ratio" else float("inf")
    if not (isfinite(amount) and 0 <= amount < most):
        bounds = "at least 0 and below 1" if rule == "ratio" else "at least 0"
        raise UserError(f"a {rule} of pruning must be {bounds}, got {amount:g}")


def real_weights(model: Model) -> dict[str, Array]:
    """Returns the weights of convolutions and linear layers, by layer, in the network's order.

    Raises:
        UserError: If there is none, or one of them is coded or holds NaN or infinity.
    """
    found = {}
    for name in layers(model.graph):
        node = model.graph.node(name)
        if is_coded(node):
            raise UserError(
                f"{name}: single weights are pruned and shared at fp32, got "
                f"{coded_operator(node).precision}; quantize afterwards"
            )
        found[name] = model.arrays[f"{name}.weight"]
        if not np.isfinite(found[name]).all():
            raise UserError(f"{name}: a weight is NaN or infinite; train the network again")
    if not found:
        raise UserError("the network has no convolution or linear layer, so no weights to prune")
    return found


def by_layer(names: Iterable[str], patterns: Mapping[str, T]) -> dict[str, T]:
    """Returns what is said of each layer that a pattern fits; of two that fit, the last counts.

    >>> by_layer(("conv1", "conv2", "fc"), {"conv*": 8, "conv2": 4})
    {'conv1': 8, 'conv2': 4}

    Raises:
        UserError: If a pattern fits none.
    """
    names = list(names)
    found: dict[str, T] = {}
    for pattern, value in patterns.items():
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            raise UserError(f"no layer is called {pattern!r}; the layers are {', '.join(names)}")
        found |= dict.fromkeys(fitting, value)
    return found


def kept_of_all(weights: Mapping[str, Array], ratio: float) -> dict[str, Mask]:
    """Returns which weights are left where all layers are ranked together."""
    if not weights:
        return {}
    sizes = np.concatenate([np.abs(weight).ravel() for weight in weights.values()])
    kept = kept_by_ratio(sizes, ratio)
    ends = np.cumsum([weight.size for weight in weights.values()])[:-1]
    parts = zip(weights.items(), np.split(kept, ends), strict=True)
    return {name: part.reshape(weight.shape) for (name, weight), part in parts}


def kept_of_layer(weight: Array, rule: Rule, amount: float) -> Mask:
    """Returns which weights of a layer are left."""
    sizes = np.abs(weight)
    if rule == "ratio":
        return kept_by_ratio(sizes.ravel(), amount).reshape(weight.shape)
    threshold = amount * deviation(weight) if rule == "sensitivity" else amount
    # Compared as doubles: a threshold that float32 rounds would let go what lies on it.
    below: Mask = sizes < np.float64(threshold)
    return ~below & (sizes > 0)


def kept_by_ratio(sizes: NDArray[np.float32], ratio: float) -> Mask:
    """Returns which of the magnitudes ``(n,)`` are left, so that the share of the rest is exact.

    >>> kept_by_ratio(np.array([3, 1, 1, 2], np.float32), 0.25)
    array([ True, False,  True,  True])
    """
    count = floor(round(ratio * sizes.size, 6))  # 0.29 * 100 is a little less than 29
    kept = sizes > 0
    if count:
        largest = np.partition(sizes, count - 1)[count - 1]
        kept &= sizes >= largest
        ties = np.flatnonzero(sizes == largest)
        kept[ties[: count - int((sizes < largest).sum())]] = False
    return kept


def deviation(weight: Array) -> float:
    """Returns the standard deviation of the weights that are not zero; 0 where there is none."""
    left = weight[weight != 0]
    return float(left.std(dtype=np.float64)) if left.size else 0.0


def kept_weights(model: Model) -> dict[str, tuple[int, int]]:
    """Returns for each layer how many weights are not zero, and how many it has.

    Raises: as `real_weights`.
    """
    weights = real_weights(model).items()
    return {name: (int(np.count_nonzero(weight)), weight.size) for name, weight in weights}


def kept_share(model: Model) -> float:
    """Returns the share of all weights that are not zero.

    Raises: as `real_weights`.
    """
    kept, of = np.sum(list(kept_weights(model).values()), 0)
    return float(kept / of)
