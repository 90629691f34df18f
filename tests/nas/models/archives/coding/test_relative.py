"""Relative indices: the paper's example by hand, and round trips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.models.archives.coding.relative import absolute_places, relative_entries
from search_spaces.graphs.errors import UserError


def test_a_gap_beyond_the_span_is_bridged_by_a_filler_zero() -> None:
    """Figure 2 of the paper: values at places 1, 4 and 15, a span of 8 places."""
    gaps, symbols = relative_entries(np.array([1, 4, 15]), np.array([1, 2, 3]), bits=3)

    # The paper's differences are 1, 3, 8 (a filler zero, at place 12) and 3; ours begin before 0.
    assert (gaps + 1).tolist() == [2, 3, 8, 3]
    assert symbols.tolist() == [1, 2, 0, 3]
    assert (np.cumsum(gaps + 1) - 1).tolist() == [1, 4, 12, 15]


@pytest.mark.parametrize(("distance", "fillers"), [(8, 0), (9, 1), (16, 1), (17, 2), (800, 99)])
def test_there_are_as_many_fillers_as_are_needed(distance: int, fillers: int) -> None:
    _, symbols = relative_entries(np.array([distance - 1]), np.array([5]), bits=3)

    assert symbols.tolist() == [0] * fillers + [5]


@given(
    st.sets(st.integers(0, 5000), max_size=200).map(sorted), st.integers(1, 12), st.integers(0, 9)
)
def test_indices_come_back(places: list[int], bits: int, spare: int) -> None:
    given_places = np.array(places, np.int64)
    given_symbols = np.arange(1, len(places) + 1)

    gaps, symbols = relative_entries(given_places, given_symbols, bits)
    found, values = absolute_places(gaps, symbols, max(places, default=0) + 1 + spare)

    assert gaps.max(initial=0) < 1 << bits
    assert found.tolist() == places
    assert values.tolist() == given_symbols.tolist()


def test_indices_that_lead_beyond_the_array_are_refused() -> None:
    with pytest.raises(UserError, match="lead to place 9 of 9"):
        absolute_places(np.array([4, 4]), np.array([1, 1]), 9)
