"""Profiles of source devices are refused where they do not fit; samples are distinct."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from latency_models.transfer.profiles import learn_profiles
from latency_models.transfer.samples import choose_samples
from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]


def made_sources() -> tuple[Array, tuple[Array]]:
    """Five sources (N, S) and how often each of four operators occurs (N, P)."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(6, [0.25] * 4, 300).astype(np.float64)
    return 0.5 + counts @ np.exp(rng.normal(0, 1, (4, 5))), (counts,)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40))
def test_samples_are_distinct_candidates(seed: int, count: int) -> None:
    sources, features = made_sources()
    profiles = learn_profiles(sources, features)
    candidates = np.arange(100, 160)

    rows = choose_samples(profiles, count, np.random.default_rng(seed), candidates)

    assert len(set(rows.tolist())) == count
    assert set(rows.tolist()) <= set(candidates.tolist())


def test_more_samples_than_candidates_are_refused() -> None:
    profiles = learn_profiles(made_sources()[0])

    with pytest.raises(UserError, match="5 samples cannot be chosen among 3"):
        choose_samples(profiles, 5, np.random.default_rng(0), np.arange(3))


def test_tables_that_do_not_fit_are_refused() -> None:
    sources, features = made_sources()
    negative, holed = sources.copy(), sources.copy()
    negative[3, 1], holed[3, 1] = -1, np.nan

    with pytest.raises(UserError, match=r"must be positive, got -1.0 ms for architecture 3"):
        learn_profiles(negative, features)
    with pytest.raises(UserError, match="no features to fill them in"):
        learn_profiles(holed)
    with pytest.raises(UserError, match="a row for each of 300 architectures"):
        learn_profiles(sources, [features[0][:7]])
    with pytest.raises(UserError, match="at least 3 architectures"):
        learn_profiles(sources[:2])
