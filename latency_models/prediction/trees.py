"""Trees: randomised regression trees as plain arrays, grown by scikit-learn, read by numpy.

Stored as arrays they outlive any version of scikit-learn, and predicting does not import it.

Letters: T trees, N nodes of the largest one, S samples, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.arrays import checked_array
from search_spaces.graphs.errors import UserError

Floats = NDArray[np.float64]
NUM_TREES = 30
MAX_FEATURES = 0.5  # share of the features that a split chooses among


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Trees, whose values are summed.

    Attributes:
        feature: (T, N), -1 at leaves.
        threshold: (T, N); a sample goes left where its feature is at most this.
        left: (T, N), where children are; a leaf is its own child.
        right: (T, N).
        value: (T, N), already divided by T.
        depth: Of the deepest tree, (1,).
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    depth: NDArray[np.int16]

    def predict(self, samples: Floats) -> Floats:
        """Returns the sums (S,) for samples (S, F)."""
        numbers = samples.astype(np.float32)
        rows = np.arange(len(numbers))[:, None]
        trees = np.arange(len(self.feature))[None, :]
        at = np.zeros((len(numbers), len(self.feature)), np.intp)
        for _ in range(int(self.depth[0])):
            feature = self.feature[trees, at]
            goes_left = numbers[rows, np.maximum(feature, 0)] <= self.threshold[trees, at]
            at = np.where(goes_left, self.left[trees, at], self.right[trees, at])
        sums: Floats = self.value[trees, at].sum(1, dtype=np.float64)
        return sums

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Returns every array by a name that begins with ``prefix``."""
        return {f"{prefix}{item.name}": getattr(self, item.name) for item in fields(self)}

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], prefix: str, num_features: int
    ) -> "Trees":
        """Returns the trees that ``arrays`` was asked for.

        Raises:
            UserError: If an array is missing, or points outside the trees or the features.
        """
        name = f"{prefix}feature"
        feature = checked_array(arrays, name, (None, None), -1, num_features - 1, "whole")
        shape, last = feature.shape, feature.shape[1] - 1
        if not feature.size:
            raise UserError(f"array {name!r} holds no trees")
        return cls(
            feature=feature,
            threshold=checked_array(arrays, f"{prefix}threshold", shape),
            left=checked_array(arrays, f"{prefix}left", shape, 0, last, "whole"),
            right=checked_array(arrays, f"{prefix}right", shape, 0, last, "whole"),
            value=checked_array(arrays, f"{prefix}value", shape),
            depth=checked_array(arrays, f"{prefix}depth", (1,), 0, last, "whole"),
        )


def grow_trees(samples: Floats, targets: Floats, seed: int) -> Trees:
    """Returns trees fitted to targets (S,) of samples (S, F), by least squares.

    *Source:* Geurts, Ernst, Wehenkel, "Extremely randomized trees", Machine Learning 2006,
    https://doi.org/10.1007/s10994-006-6226-1.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(NUM_TREES, max_features=MAX_FEATURES, random_state=seed)
    model.fit(samples.astype(np.float32), targets)
    grown = [estimator.tree_ for estimator in model.estimators_]
    leaves = [tree.children_left < 0 for tree in grown]
    most = max(tree.node_count for tree in grown)

    def padded(rows: list[NDArray[Any]], kind: type) -> NDArray[Any]:
        whole = np.zeros((len(rows), most), kind)
        for index, row in enumerate(rows):
            whole[index, : len(row)] = row
        return whole

    def child(side: str) -> NDArray[Any]:
        rows = [
            np.where(leaf, np.arange(tree.node_count), getattr(tree, side))
            for tree, leaf in zip(grown, leaves, strict=True)
        ]
        return padded(rows, np.int32)

    split = zip(grown, leaves, strict=True)
    return Trees(
        feature=padded([np.where(leaf, -1, tree.feature) for tree, leaf in split], np.int16),
        threshold=padded([rounded_down(tree.threshold) for tree in grown], np.float32),
        left=child("children_left"),
        right=child("children_right"),
        value=padded([tree.value[:, 0, 0] / len(grown) for tree in grown], np.float32),
        depth=np.array([max(tree.max_depth for tree in grown)], np.int16),
    )


def rounded_down(numbers: Floats) -> NDArray[np.float32]:
    """Returns the largest float32 at most each number: the same float32 samples go left."""
    near = numbers.astype(np.float32)
    return np.where(near > numbers, np.nextafter(near, np.float32(-np.inf)), near)
