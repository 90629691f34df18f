"""Fitting a space to a network gives back the decisions that made it, or says that none do."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.fit import fit, wiring
from search_spaces.networks import get_network
from search_spaces.space import sample
from tests.search_spaces.test_staged import MIXED, TINY


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_sampled_network_is_found_again(seed: int) -> None:
    architecture = sample(MIXED, Random(seed))

    found = fit(MIXED, architecture.graph)

    assert found is not None
    # A skipped layer changes the names of those after it, nothing else.
    assert wiring(found.graph) == wiring(architecture.graph)


def test_a_network_outside_the_space_is_not_found() -> None:
    graph = get_network("mobilenet_v2")(resolution=32, num_classes=10, in_channels=1)

    assert fit(TINY, graph) is None
