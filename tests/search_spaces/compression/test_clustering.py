"""k-means on sorted values is plain Lloyd, comes as far as scikit-learn, wastes no centroid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans

from search_spaces.compression.clustering import INITS, Clusters, Floats, Init, k_means
from search_spaces.graphs.errors import UserError

INIT = st.sampled_from(["linear", "density", "random"])
VALUES = arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.floats(-8, 8, width=32) | st.sampled_from([0.5, 1.0, -2.0]),
)


def drawn(n: int = 500, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def plain_lloyd(values: Floats, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's algorithm as the textbook has it, for first centroids that all have members."""
    centroids = np.sort(centroids.astype(np.float64))
    for _ in range(10_000):
        distances = np.abs(values.astype(np.float64)[:, None] - centroids)
        labels = distances.argmin(1)  # of equal distances the lower centroid
        assert len(set(labels.tolist())) == len(centroids)
        groups = [values[labels == k] for k in range(len(centroids))]
        means = np.array([group.mean(dtype=np.float64) for group in groups])
        if np.allclose(means, centroids, rtol=0, atol=1e-15):
            return means, labels
        centroids = means
    raise AssertionError("it did not end")


@pytest.mark.parametrize("init", ["density", "random"])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_plain_lloyd(init: Init, seed: int) -> None:
    values = drawn(400, seed)
    first = INITS[init](np.sort(values), 6, np.random.default_rng(seed))

    found = k_means(values, 6, init, seed=seed)
    centroids, labels = plain_lloyd(values, first)

    assert np.allclose(found.centroids, centroids, rtol=0, atol=1e-12)
    assert np.array_equal(found.labels, labels)


@pytest.mark.parametrize("k", [2, 7, 16])
@pytest.mark.parametrize("seed", range(3))
def test_it_comes_to_the_inertia_of_scikit_learn(k: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, 2000).astype(np.float32)
    first = np.linspace(values.min(), values.max(), k)
    peer = KMeans(k, init=first[:, None], n_init=1, tol=0, max_iter=10_000)
    peer.fit(values.astype(np.float64)[:, None])

    found = k_means(values, k, "linear")

    assert found.inertia == pytest.approx(peer.inertia_, rel=1e-9)
    assert np.allclose(found.centroids, np.sort(peer.cluster_centers_[:, 0]), atol=1e-9)


def check_fixed_point(values: Floats, found: Clusters) -> None:
    """Checks that every centroid is the mean of its members, who have none nearer."""
    exact = values.astype(np.float64)
    k = len(found.centroids)
    assert np.array_equal(np.unique(found.labels), np.arange(k))
    means = [exact[found.labels == each].mean() for each in range(k)]
    assert np.allclose(found.centroids, means, rtol=1e-12, atol=1e-12)
    assert (np.diff(found.centroids) > 0).all()
    distances = np.abs(exact.ravel()[:, None] - found.centroids)
    own = np.take_along_axis(distances, found.labels.ravel()[:, None].astype(int), 1)[:, 0]
    assert (own <= distances.min(1) + 1e-9).all()
    assert found.inertia == pytest.approx((own**2).sum(), rel=1e-9, abs=1e-15)


@settings(max_examples=150, deadline=None)
@given(values=VALUES, k=st.integers(1, 12), init=INIT)
def test_centroids_are_means_of_the_nearest_and_as_many_as_there_can_be(
    values: Floats, k: int, init: Init
) -> None:
    found = k_means(values, k, init)

    assert len(found.centroids) == min(k, len(np.unique(values)))
    check_fixed_point(values, found)


@settings(max_examples=30, deadline=None)
@given(values=VALUES)
def test_as_many_clusters_as_distinct_values_are_these_values(values: Floats) -> None:
    for k in (len(np.unique(values)), 64):
        found = k_means(values, k)

        assert np.array_equal(found.centroids.astype(np.float32)[found.labels], values)
        assert (found.inertia, found.steps) == (0, 0)


def test_no_centroid_stays_in_the_gap_that_pruning_makes() -> None:
    values = drawn(5000)
    values = values[np.abs(values) > 1]

    found = k_means(values, 32, "linear")

    assert len(found.centroids) == 32
    check_fixed_point(values, found)


def test_first_centroids_are_those_of_the_paper() -> None:
    ordered, rng = np.sort(drawn(1000)), np.random.default_rng(0)

    linear, density, random = (INITS[name](ordered, 4, rng) for name in INITS)

    assert np.allclose(np.diff(linear), (ordered[-1] - ordered[0]) / 3)
    assert density.tolist() == ordered[[125, 375, 625, 875]].tolist()
    assert set(random.tolist()) <= set(ordered.tolist())
    assert len(set(random.tolist())) == 4


def test_a_value_halfway_is_the_lower_one_s() -> None:
    """1 is as far from 0 as from 2, the means of (0) and (2)."""
    found = k_means(np.array([0, 0, 0, 1, 2, 2, 2, 2, 2, 2], np.float32), 2, "linear")

    assert found.labels.tolist() == [0] * 4 + [1] * 6
    assert found.centroids.tolist() == [0.25, 2]


def test_it_keeps_the_shape_and_repeats_itself() -> None:
    values = drawn(240).reshape(4, 6, 10)

    one, other = (k_means(values, 8, "random", seed=3) for _ in range(2))

    assert one.labels.shape == values.shape
    assert np.array_equal(one.labels, other.labels)
    assert k_means(values, 8, "random", seed=4).inertia != one.inertia


@pytest.mark.parametrize(
    ("values", "k", "init", "said"),
    [
        ([1.0, 2.0], 0, "linear", "k must be between 1 and 65536 clusters, got 0"),
        ([1.0, 2.0], 1 << 17, "linear", "k must be between 1 and 65536 clusters, got 131072"),
        ([1.0, 2.0], 2, "best", "init must be one of linear, density, random, got 'best'"),
        ([], 2, "linear", "k-means needs at least one value, got none"),
        ([1.0, float("nan")], 2, "linear", "k-means needs finite values, got NaN or infinity"),
        ([1.0, float("-inf")], 2, "linear", "k-means needs finite values, got NaN or infinity"),
    ],
)
def test_what_cannot_be_is_one_line(values: list[float], k: int, init: Init, said: str) -> None:
    with pytest.raises(UserError) as error:
        k_means(np.array(values, np.float32), k, init)

    assert str(error.value).startswith(said)
