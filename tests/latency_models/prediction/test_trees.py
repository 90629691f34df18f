"""Trees: read from arrays they say what scikit-learn says that grew them."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from latency_models.prediction.trees import MAX_FEATURES, NUM_TREES, Trees, grow_trees

RNG = np.random.default_rng(0)


def grown_by_sklearn(samples: np.ndarray, targets: np.ndarray, seed: int) -> ExtraTreesRegressor:
    model = ExtraTreesRegressor(NUM_TREES, max_features=MAX_FEATURES, random_state=seed)
    return model.fit(samples.astype(np.float32), targets)


@pytest.mark.parametrize("seed", range(4))
def test_predictions_are_scikit_learns_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(150, 7)) * 10.0 ** rng.integers(-2, 5, 7)
    samples[:, 3] = rng.integers(0, 3, 150)
    targets = np.sin(samples[:, 0]) + samples[:, 3] + rng.normal(scale=0.1, size=150)
    asked = np.concatenate([samples, rng.normal(size=(100, 7)) * 100])

    trees = grow_trees(samples, targets, seed)

    wanted = grown_by_sklearn(samples, targets, seed).predict(asked.astype(np.float32))
    np.testing.assert_allclose(trees.predict(asked), wanted, rtol=1e-5, atol=1e-5)


def test_neighbouring_numbers_are_told_apart_as_scikit_learn_does() -> None:
    low, up = np.float32(1.0), np.float32(2.0)
    high = np.nextafter(np.nextafter(low, up), up)  # one float32 lies between them
    samples = np.where(RNG.random((60, 3)) < 0.5, low, high).astype(np.float64)
    targets = (samples == low).sum(1) + RNG.normal(scale=0.01, size=60)

    trees = grow_trees(samples, targets, 0)

    wanted = grown_by_sklearn(samples, targets, 0).predict(samples.astype(np.float32))
    np.testing.assert_allclose(trees.predict(samples), wanted, atol=1e-5)


def test_a_constant_is_a_tree_without_a_split() -> None:
    trees = grow_trees(RNG.normal(size=(20, 4)), np.full(20, 3.25), 0)

    assert int(trees.depth[0]) == 0
    np.testing.assert_allclose(trees.predict(RNG.normal(size=(5, 4))), 3.25, rtol=1e-6)


def test_no_sample_has_no_prediction() -> None:
    trees = grow_trees(RNG.normal(size=(20, 4)), RNG.normal(size=20), 0)
    assert trees.predict(np.zeros((0, 4))).shape == (0,)


def test_trees_come_back_from_their_arrays() -> None:
    samples = RNG.normal(size=(40, 4))
    trees = grow_trees(samples, samples.sum(1), 0)

    arrays = trees.arrays("here.")

    assert all(name.startswith("here.") for name in arrays)
    again = Trees.of_arrays(arrays | {"other.feature": np.zeros(1)}, "here.", 4)
    np.testing.assert_array_equal(again.predict(samples), trees.predict(samples))


def test_the_same_seed_grows_the_same_trees() -> None:
    samples = RNG.normal(size=(40, 4))
    one, same, other = (grow_trees(samples, samples[:, 0], seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(one.predict(samples), same.predict(samples))
    assert not np.array_equal(one.threshold, other.threshold)


def test_reading_trees_needs_no_scikit_learn() -> None:
    script = (
        "import sys; from latency_models.prediction import trees; "
        "print({'sklearn', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
