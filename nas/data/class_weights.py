"""Class weights: how much the images of each class count in training.

*Source:* "balanced" is the weighting of King and Zeng, "Logistic Regression in Rare Events Data",
Political Analysis 9, 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868, section 5.2, as in
scikit-learn's `class_weight="balanced"`: every class counts as much as every other.

*Differs from the paper:* weights are scaled so that the training images count 1 on average, and a
learning rate means what it meant; only their proportions matter.

Shape letters: K classes.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

# "none", "balanced", a weight a class, or weights by class name; others count 1.
ClassWeights = str | Sequence[float] | Mapping[Any, float]
NAMED = ("none", "balanced")


def check_class_weights(given: object) -> None:
    """Raises:
    UserError: If ``given`` are no class weights, whatever the classes.
    """
    if isinstance(given, str) and given in NAMED:
        return
    rule = "none, balanced, a list of one weight a class, or weights by class name"
    if isinstance(given, str) or not isinstance(given, Sequence | Mapping):
        raise UserError(f"training class_weights must be {rule}, got {given!r}")
    for weight in given.values() if isinstance(given, Mapping) else given:
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and isfinite(weight) and weight > 0):
            raise UserError(
                f"training class_weights must be numbers above 0, got {weight!r}; leave a class "
                "out of the data to ignore it"
            )


def class_weights(
    given: ClassWeights, names: Sequence[str], sizes: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Returns the weight of each class, ``(K,)``, 1 on average over the training images.

    Args:
        given: As `check_class_weights` lets through.
        names: Of the K classes.
        sizes: Training images of each class, ``(K,)``.

    Returns:
        None where all images count alike.

    Raises:
        UserError: If ``given`` names a class that is none, or lists other than K weights.
    """
    if given == "none":
        return None
    if isinstance(given, str):
        weights = 1 / np.maximum(sizes, 1)
    elif isinstance(given, Mapping):
        weights = by_name(given, names)
    elif len(given) == len(names):
        weights = np.array(given, np.float64)
    else:
        raise UserError(
            f"training class_weights must list one weight a class ({len(names)}: "
            f"{shown(names)}), got {len(given)}"
        )
    scaled: NDArray[np.float64] = weights * (sizes.sum() / (weights @ sizes))
    return scaled


def by_name(given: Mapping[Any, float], names: Sequence[str]) -> NDArray[np.float64]:
    rows = {normalize("NFC", name): row for row, name in enumerate(names)}
    weights = np.ones(len(names))
    for name, weight in given.items():
        row = rows.get(normalize("NFC", str(name)))
        if row is None:
            raise UserError(
                f"training class_weights must be of classes of the data, got {str(name)!r}; they "
                f"are {shown(names)}"
            )
        weights[row] = weight
    return weights


def shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
