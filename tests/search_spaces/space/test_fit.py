"""Fitting a space to a network gives back the decisions that made it, or says that none do."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.networks import get_network
from search_spaces.space.fit import fit, wiring
from search_spaces.space.space import sample
from search_spaces.space.staged import Head, Stage, Stem, block_option
from tests.search_spaces.quantization.coded import EVERY_PRECISION
from tests.search_spaces.space.test_staged import MIXED, TINY

# Blocks of every way of reading codes, at every precision, with few settings.
CODED = replace(
    TINY,
    stem=Stem((8, 16), precisions=("fp32", "w8a8", "xnor_k")),
    stages=(
        Stage(
            depths=(1, 2),
            widths=(32, 64),
            strides=(1, 2),
            blocks=(
                block_option("fire", {"squeeze_ratio": (0.25,), "share_3x3": (0.5,)}),
                block_option("ghost", {"expand_ratio": (2,), "se_ratio": (0.0,)}),
                block_option("shuffle_v2"),
                block_option("residual_basic"),
                block_option("skip"),
            ),
            prune_ratios=(0.0, 0.5),
            precisions=EVERY_PRECISION,
        ),
    ),
    head=Head((0, 32), precisions=("fp32", "w4a8", "xnor")),
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_sampled_network_is_found_again(seed: int) -> None:
    architecture = sample(MIXED, Random(seed))

    found = fit(MIXED, architecture.graph)

    assert found is not None
    # A skipped layer changes the names of those after it, nothing else.
    assert wiring(found.graph) == wiring(architecture.graph)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_precision_of_every_place_is_found_again(seed: int) -> None:
    architecture = sample(CODED, Random(seed))

    found = fit(CODED, architecture.graph)

    assert found is not None
    assert wiring(found.graph) == wiring(architecture.graph)
    ends = ("stem.precision", "head.precision")
    assert [dict(found.genes)[name] for name in ends] == [
        dict(architecture.genes)[name] for name in ends
    ]


@pytest.mark.parametrize("place", ["stem", "head"])
def test_a_precision_outside_the_space_is_not_found(place: str) -> None:
    graph = sample(CODED, Random(3)).graph
    at_fp32 = replace(getattr(CODED, place), precisions=("fp32",))
    seeds = (Random(seed) for seed in range(20))
    other = next(
        a
        for a in (sample(CODED, rng) for rng in seeds)
        if dict(a.genes)[f"{place}.precision"] != "fp32"
    )

    assert fit(CODED, graph) is not None
    assert fit(replace(CODED, **{place: at_fp32}), other.graph) is None


def test_a_network_outside_the_space_is_not_found() -> None:
    graph = get_network("mobilenet_v2")(resolution=32, num_classes=10, in_channels=1)

    assert fit(TINY, graph) is None
