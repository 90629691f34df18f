"""One set of arrays for all networks of a space: which windows they read, and what keeps apart."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from random import Random

import pytest

from nas.problem.run_file import read_run_file
from search_spaces.building.choice import Value
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.operators import Conv2d
from search_spaces.space.dealing import Dealer
from search_spaces.space.extremes import extremes_of
from search_spaces.space.sharing import SharedWindow, windows_of
from search_spaces.space.space import Architecture, complete, sample
from search_spaces.space.staged import Head, Stage, StagedSpace, Stem, block_option
from search_spaces.space.store import SharedStore, store_of

SPACE = StagedSpace(
    "two stages",
    1,
    10,
    (8,),
    (
        Stage(
            (1, 2),
            (8, 16),
            (1, 2),
            (
                block_option("plain", {"kernel_size": (1, 3, 5)}),
                block_option("fire"),
                block_option("shuffle_v1", {"groups": (2, 4)}),
                block_option("inverted_residual", {"expand_ratio": (1, 2)}),
                block_option("skip"),
            ),
            prune_ratios=(0.0, 0.5),
            precisions=("fp32", "w4a4", "xnor"),
        ),
    ),
    Stem((8, 16)),
    Head((0, 16)),
    round_to=8,
)
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("digits", "cifar10")]


def example(name: str) -> StagedSpace:
    return read_run_file(Path(f"examples/{name}.yaml")).config(is_tried=True).space


def made(genes: Mapping[str, Value]) -> Architecture:
    return complete(SPACE, genes, Random(0))


def window(architecture: Architecture, name: str) -> SharedWindow:
    return windows_of(architecture)[name]


@pytest.fixture(scope="module")
def store() -> SharedStore:
    return store_of(SPACE, Random(0))


@pytest.mark.parametrize("name", ["digits_mixed", *SLOW])
def test_every_array_of_a_random_network_has_a_window_in_the_store(name: str) -> None:
    space, rng = example(name), Random(1)
    store = store_of(space, Random(0))
    for _ in range(100):
        architecture = sample(space, rng)
        windows = windows_of(architecture)
        own = {
            array: shape
            for array, shape in architecture.graph.array_shapes().items()
            if array.rpartition(".")[2] not in ("mean", "variance")
        }
        assert store.missing(windows) is None
        assert {name: prod(each.folded) for name, each in windows.items()} == {
            name: prod(shape) for name, shape in own.items()
        }


def test_arrays_of_two_blocks_in_one_place_are_never_the_same() -> None:
    rng = Random(0)
    blocks: dict[str, set[str]] = {}
    for _ in range(300):
        architecture = sample(SPACE, rng)
        genes = dict(architecture.genes)
        for name, found in windows_of(architecture).items():
            place = ".".join(name.split(".")[:2])
            if f"{place}.block" in genes:
                assert found.key.block == genes[f"{place}.block"]
                assert found.key.place == place
                blocks.setdefault(str(found.key), set()).add(found.key.block)

    assert all(len(each) == 1 for each in blocks.values())
    assert {block for each in blocks.values() for block in each} >= {"plain", "fire"}


def test_one_network_reads_no_number_twice(store: SharedStore) -> None:
    rng = Random(2)
    for _ in range(100):
        keys = [each.key for each in windows_of(sample(SPACE, rng)).values()]
        assert len(set(keys)) == len(keys)


def test_a_smaller_kernel_is_the_centre_and_a_narrower_layer_the_first_channels() -> None:
    genes: dict[str, Value] = {
        "stage0.layer0.block": "plain",
        "stage0.layer0.precision": "fp32",
        "stage0.layer0.plain.kernel_size": 1,
        "stage0.width": 8,
        "stem.width": 8,
    }
    weight = window(made(genes), "stage0.layer0.conv.weight")
    found = [(each.start, each.stop) for each in weight.slices((16, 16, 5, 5))]

    assert weight.folded == (8, 8, 1, 1)
    assert found == [(0, 8), (0, 8), (2, 3), (2, 3)]


def test_each_group_of_a_grouped_convolution_keeps_its_own_weights() -> None:
    genes: dict[str, Value] = {
        "stage0.layer0.block": "shuffle_v1",
        "stage0.layer0.shuffle_v1.groups": 2,
        "stage0.layer0.precision": "fp32",
    }
    found = window(made({**genes, "stem.width": 8}), "stage0.layer0.reduce.weight")
    other = window(
        made({**genes, "stage0.layer0.shuffle_v1.groups": 4, "stem.width": 8}),
        "stage0.layer0.reduce.weight",
    )

    assert found.folded[0] == 2
    assert found.folded[2] == 4  # of 8 channels, 4 a group
    assert found.key != other.key


def test_a_classifier_behind_the_head_is_another_than_one_behind_the_stage() -> None:
    with_head, without = (
        window(made({"head.width": width}), "head.classifier.weight").key for width in (16, 0)
    )

    assert with_head != without
    assert dict(with_head.apart)["reads"] == "conv"
    assert dict(without.apart)["reads"] == "outside"


def test_real_and_integer_weights_are_one_and_signs_are_others() -> None:
    genes: dict[str, Value] = {
        "stage0.layer0.block": "plain",
        "stage0.layer0.plain.kernel_size": 3,
    }
    real, coded, signs = (
        windows_of(made({**genes, "stage0.layer0.precision": precision}))
        for precision in ("fp32", "w4a4", "xnor")
    )
    weight, norm = "stage0.layer0.conv.weight", "stage0.layer0.conv.norm.weight"

    assert real[weight].key == coded[weight].key != signs[weight].key
    assert len({each[norm].key for each in (real, coded, signs)}) == 3


def test_what_keeps_weights_apart_is_told_with_what_it_costs(store: SharedStore) -> None:
    costs = store.apart_bytes()
    without_signs = replace(
        store,
        shapes={
            key: shape for key, shape in store.shapes.items() if "signs" not in dict(key.apart)
        },
    )

    assert costs["signs"] == store.num_bytes - without_signs.num_bytes
    assert list(costs.values()) == sorted(costs.values(), reverse=True)
    assert "block" in store.in_one_line()
    assert "\n" not in store.in_one_line()


def test_a_store_is_the_same_every_time(store: SharedStore) -> None:
    assert store_of(SPACE, Random(0)) == store


def test_the_largest_network_of_a_space_has_no_random_one_above_it() -> None:
    space = example("digits")
    extremes = extremes_of(space)
    dealer = Dealer(space, extremes, Random(0))
    largest = [count_macs(dealer.deal("largest").graph) for _ in range(30)]
    smallest = [count_macs(dealer.deal("smallest").graph) for _ in range(30)]
    drawn = [count_macs(sample(space, Random(seed)).graph) for seed in range(60)]

    assert extremes.largest["stage0.layer0.prune_ratio"] == 0.0
    assert extremes.smallest["stage0.layer0.prune_ratio"] == 0.5
    assert max(smallest) < sorted(drawn)[len(drawn) // 2] < sorted(largest)[len(largest) // 2]


@pytest.mark.parametrize("role", ["largest", "random", "smallest"])
def test_each_round_shows_every_block_of_a_place_once(role: str) -> None:
    dealer = Dealer(SPACE, extremes_of(SPACE), Random(3))
    first = SPACE.stages[0].blocks[:-1]  # no skip where the width changes
    for rounds in range(1, 6):
        for _ in first:
            dealer.deal(role)  # type: ignore[arg-type]
        shown = {
            block: dealer.shown[role, "stage0.layer0.block", block]  # type: ignore[index]
            for block in (option.name for option in first)
        }
        assert set(shown.values()) == {rounds}, shown


def test_a_dealer_deals_alike_for_equal_seeds() -> None:
    extremes = extremes_of(SPACE)
    hands = [
        [Dealer(SPACE, extremes, rng).deal("random").genes for _ in range(5)]
        for rng in (Random(1), Random(1))
    ]

    assert hands[0] == hands[1]


def test_depthwise_convolutions_share_across_widths() -> None:
    genes: dict[str, Value] = {
        "stage0.layer0.block": "inverted_residual",
        "stage0.layer0.inverted_residual.expand_ratio": 1,
        "stage0.layer0.precision": "fp32",
    }
    narrow, wide = (made({**genes, "stem.width": width}) for width in (8, 16))
    name = "stage0.layer0.depthwise.weight"
    operator = wide.graph.node("stage0.layer0.depthwise").operator

    assert isinstance(operator, Conv2d)
    assert operator.groups == 16
    assert window(narrow, name).key == window(wide, name).key
    assert window(narrow, name).folded == (8, 1, *operator.kernel_size)
