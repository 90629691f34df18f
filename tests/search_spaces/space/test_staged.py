"""The staged space: its size is counted, its moves stay inside, its misfits are named."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.blocks import BLOCKS
from search_spaces.building.choice import Choice, Value
from search_spaces.graphs.errors import UserError
from search_spaces.space.misfits import check_space
from search_spaces.space.space import (
    Architecture,
    SearchSpace,
    complete,
    crossover,
    decide,
    mutate,
    restore,
    sample,
)
from search_spaces.space.staged import (
    Head,
    Stage,
    StagedSpace,
    Stem,
    block_option,
    count_architectures,
    describe_space,
    is_prunable,
)

EVERY_BLOCK = tuple(block_option(name) for name in BLOCKS)
MIXED = StagedSpace(
    name="mixed",
    in_channels=1,
    num_classes=10,
    resolutions=(8, 16),
    stem=Stem(widths=(24, 48)),
    stages=(
        Stage((1, 2, 3), (24, 48), (1,), EVERY_BLOCK, (0.0, 0.25, 0.5)),
        Stage((1, 2), (48, 96), (1, 2), EVERY_BLOCK, (0.0, 0.5)),
    ),
    head=Head(widths=(0, 64), dropout=0.1),
    round_to=8,
)
TINY = StagedSpace(
    name="tiny",
    in_channels=1,
    num_classes=10,
    resolutions=(8, 16),
    stages=(
        Stage(
            (1, 2),
            (8, 16),
            (1,),
            (
                block_option("inverted_residual", {"kernel_size": (3,), "se_ratio": (0.0,)}),
                block_option("plain", {"kernel_size": (1, 3)}),
                block_option("skip"),
            ),
            (0.0, 0.5),
        ),
    ),
)
seeds = st.integers(0, 2**32 - 1)


def enumerate_space(space: SearchSpace) -> Iterator[Architecture]:
    """Every architecture, by counting through the decisions like an odometer."""
    path: list[tuple[Choice, int]] = []
    while True:
        taken = 0

        def pick(choice: Choice) -> Value:
            nonlocal taken
            if taken == len(path):
                path.append((choice, 0))
            value = path[taken][0].values[path[taken][1]]
            taken += 1
            return value

        yield decide(space, pick)
        while path and path[-1][1] + 1 == len(path[-1][0].values):
            path.pop()
        if not path:
            return
        path[-1] = (path[-1][0], path[-1][1] + 1)


def test_the_size_is_what_enumeration_finds() -> None:
    found = [architecture.genes for architecture in enumerate_space(TINY)]

    assert len(found) == len(set(found)) == count_architectures(TINY)


def test_a_large_space_is_counted_without_enumeration() -> None:
    assert count_architectures(MIXED) > 10**10


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_genes_are_the_identity(seed: int) -> None:
    architecture = sample(MIXED, Random(seed))

    assert restore(MIXED, dict(architecture.genes)) == architecture
    assert restore(MIXED, dict(architecture.genes)).graph == architecture.graph


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_moves_stay_in_the_space(seed: int) -> None:
    rng = Random(seed)
    mother, father = (dict(sample(MIXED, rng).genes) for _ in range(2))

    for child in (mutate(MIXED, mother, rng, 2), crossover(MIXED, mother, father, rng)):
        assert restore(MIXED, dict(child.genes)) == child


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_mutation_changes_the_decisions_it_was_asked_to(seed: int) -> None:
    rng = Random(seed)
    parent = dict(sample(TINY, rng).genes)
    child = dict(mutate(TINY, parent, rng, 1).genes)

    kept_names = parent.keys() & child.keys()
    assert sum(parent[name] != child[name] for name in kept_names) == 1


def test_a_mutation_of_nothing_is_the_parent() -> None:
    parent = sample(MIXED, Random(0))

    assert mutate(MIXED, dict(parent.genes), Random(1), 0) == parent


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_crossover_of_equal_parents_is_the_parent(seed: int) -> None:
    rng = Random(seed)
    parent = sample(MIXED, rng)

    assert crossover(MIXED, dict(parent.genes), dict(parent.genes), rng) == parent


def test_complete_keeps_what_fits_and_draws_the_rest() -> None:
    wanted: dict[str, Value] = {"resolution": 16, "stage0.width": 17, "nonsense": 1}
    genes = dict(complete(TINY, wanted, Random(0)).genes)

    assert genes["resolution"] == 16
    assert genes["stage0.width"] in (8, 16)


def test_restore_refuses_a_value_outside_the_choice() -> None:
    genes = dict(sample(TINY, Random(0)).genes) | {"stage0.width": 17}

    with pytest.raises(UserError, match=r"stage0.width = 17 is not one of \(8, 16\)"):
        restore(TINY, genes)


def test_restore_refuses_missing_and_foreign_genes() -> None:
    genes = dict(sample(TINY, Random(0)).genes)

    with pytest.raises(UserError, match=r"gene 'resolution' of space 'tiny' is missing"):
        restore(TINY, {k: v for k, v in genes.items() if k != "resolution"})
    with pytest.raises(UserError, match=r"does not ask for gene 'stage7\.width' here"):
        restore(TINY, genes | {"stage7.width": 8})


def test_a_width_that_groups_do_not_divide_is_named_before_the_search() -> None:
    stage = Stage((1,), (20,), (1,), (block_option("shuffle_v1", {"groups": (3,)}),))
    bad = replace(MIXED, stages=(stage,))

    with pytest.raises(UserError, match=r"stage0: block 'shuffle_v1'.*groups = 3"):
        check_space(bad)


def test_a_precision_that_a_block_cannot_have_is_named_before_the_search() -> None:
    """4 inner channels in 4 groups are a depthwise convolution, which has no 4-bit kernel."""
    narrow: dict[str, tuple[Value, ...]] = {"groups": (4,), "bottleneck_ratio": (0.25,)}
    stage = Stage((1,), (16,), (1,), (block_option("residual_bottleneck", narrow),))
    space = replace(MIXED, stages=(stage,), round_to=1)
    check_space(space)

    with pytest.raises(
        UserError,
        match=r"block 'residual_bottleneck' .* stride 1, precision w4a4: .* fp32 or w8a8, got",
    ):
        check_space(replace(space, stages=(replace(stage, precisions=("fp32", "w4a4")),)))


@pytest.mark.parametrize("place", ["stem", "head"])
def test_unknown_precisions_of_a_space_list_the_known_ones(place: str) -> None:
    wrong = replace(getattr(MIXED, place), precisions=("fp32", "w9"))

    with pytest.raises(UserError, match="unknown precision 'w9'; known precisions: fp32, w8a8"):
        check_space(replace(MIXED, **{place: wrong}))


def test_the_description_tells_the_precision_of_every_place() -> None:
    stem = replace(MIXED.stem, precisions=("fp32", "w8a8"))
    head = replace(MIXED.head, precisions=("w4a8",))

    lines = describe_space(replace(MIXED, stem=stem, head=head)).splitlines()

    assert lines[1].endswith("precision {fp32, w8a8}")
    assert lines[-1].endswith("precision w4a8")


def test_a_resolution_too_small_for_the_strides_is_named() -> None:
    with pytest.raises(
        UserError, match="resolution 2 is too small for strides that multiply to 4"
    ):
        check_space(replace(MIXED, resolutions=(2,), stem=Stem(strides=(2,))))


@pytest.mark.parametrize(
    ("block", "sizes"), [("plain", (3, 2)), ("plain", (4,)), ("depthwise_separable", (2,))]
)
def test_a_window_that_shrinks_its_map_layer_by_layer_is_found_before_the_search(
    block: str, sizes: tuple[int, ...]
) -> None:
    option = block_option(block, {"kernel_size": sizes})
    with pytest.raises(UserError, match=rf"kernel_size = {sizes[-1]}.* on a map of .*: .*"):
        check_space(replace(TINY, stages=(replace(TINY.stages[0], blocks=(option,)),)))


def test_a_space_too_large_to_be_tried_is_refused_before_it_is() -> None:
    stage = replace(TINY.stages[0], widths=tuple(range(8, 808)))
    with pytest.raises(UserError, match="blocks in their places, which are all tried"):
        check_space(replace(TINY, stages=(stage, stage)))

    deep = replace(TINY.stages[0], depths=(256,))
    with pytest.raises(UserError, match="may have 500 layers together, got 512"):
        check_space(replace(TINY, stages=(deep, deep)))


def test_a_stage_of_skips_alone_is_refused() -> None:
    stage = Stage((1,), (16,), (1,), (block_option("skip"),))

    with pytest.raises(UserError, match="first layer needs a block other than 'skip'"):
        check_space(replace(TINY, stages=(stage,)))


def test_an_unknown_setting_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="has no setting 'kernel'; its settings are expand_ratio"):
        block_option("inverted_residual", {"kernel": (3,)})


def test_the_mixed_space_has_no_misfit() -> None:
    check_space(MIXED)


def test_prune_ratios_are_asked_only_where_a_block_has_inner_channels() -> None:
    assert is_prunable(block_option("inverted_residual"))
    assert not is_prunable(block_option("plain"))
    assert not is_prunable(block_option("skip"))
