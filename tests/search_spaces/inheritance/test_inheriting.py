"""What a child takes over: the parent's function where the change allows, else its layers."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from search_spaces.building.choice import Choice, Value
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model
from search_spaces.graphs.operators import Add
from search_spaces.inheritance.inheriting import Kinship
from search_spaces.inheritance.ordering import ordered
from search_spaces.space.space import Architecture, decide, sample
from search_spaces.space.staged import Head, Stage, StagedSpace, Stem, block_option
from tests import oracle

BLOCKS = (
    *("plain", "depthwise_separable", "inverted_residual", "residual_basic"),
    *("residual_bottleneck", "ghost", "fire", "shuffle_v1", "shuffle_v2", "factorised"),
    *("xception", "skip"),
)
NO_KERNEL = ("fire", "skip")  # to choose
RESIDUAL = ("inverted_residual", "residual_basic", "residual_bottleneck", "shuffle_v1", "xception")
SPACE = StagedSpace(
    "kin",
    in_channels=1,
    num_classes=10,
    resolutions=(8,),
    round_to=4,
    stem=Stem(widths=(8, 12)),
    stages=(
        Stage((1, 2, 3), (8, 12, 16), (1, 2), tuple(map(block_option, BLOCKS)), (0.0, 0.5)),
        Stage((1, 2), (16, 24), (2,), tuple(map(block_option, BLOCKS[:3]))),
    ),
    head=Head(widths=(0, 8, 16)),
)
Genes = Mapping[str, Value]
# Precisions by layer, on maps of whole words.
LOW_BIT = replace(
    SPACE,
    round_to=32,
    stem=Stem(widths=(32,), precisions=("fp32", "w8a8")),
    stages=(
        Stage(
            (1, 2, 3),
            (32, 64),
            (1, 2),
            tuple(map(block_option, BLOCKS)),
            (0.0, 0.5),
            ("fp32", "w8a8", "w4a8", "w2a2", "bwn", "xnor"),
        ),
    ),
)


def decided(genes: Genes, space: StagedSpace = SPACE) -> Architecture:
    """The architecture with these genes, or these endings of genes; the first values elsewhere."""

    def pick(choice: Choice) -> Value:
        value = genes.get(choice.name, genes.get(choice.name.rpartition(".")[2]))
        return value if value in choice.values else choice.values[0]

    return decide(space, pick)


def first_arrays(graph: Graph, seed: int = 9) -> Mapping[str, Array]:
    return random_model(graph, np.random.default_rng(seed)).arrays


def trained(architecture: Architecture, seed: int = 3) -> Model:
    return random_model(architecture.graph, np.random.default_rng(seed))


def outputs(model: Model) -> np.ndarray:
    images = np.random.default_rng(0).normal(size=(2, *model.graph.input_shape))
    return oracle.run(model, images)[model.graph.output.name]


def child_of(genes: Genes, changed: Genes) -> tuple[Model, Model, Kinship]:
    """A parent, its child, and how they are related."""
    parent, child = decided(genes), decided({**genes, **changed})
    assert parent.graph != child.graph
    kin, model = Kinship(child, parent), trained(parent)
    inherited = kin.arrays(first_arrays(child.graph), model.arrays)
    assert not inherited.unset
    return model, Model(child.graph, inherited.arrays), kin


def check_computes_the_same(parent: Model, child: Model) -> None:
    before, after = outputs(parent), outputs(child)
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()


@pytest.mark.parametrize(
    ("block", "changed"),
    [
        *((block, {"stage1.width": 24}) for block in BLOCKS),
        *((block, {"head.width": 16}) for block in BLOCKS[:3]),
        *((block, {"stage0.width": 12}) for block in ("plain", "depthwise_separable", "fire")),
        *((block, {"stem.width": 12}) for block in ("plain", "factorised", "fire")),
        *((block, {"expand_ratio": 6}) for block in ("inverted_residual", "ghost")),
        *(
            (block, {"prune_ratio": 0.0})
            for block in ("inverted_residual", "residual_basic", "factorised", "ghost", "xception")
        ),
    ],
    ids=str,
)
def test_a_wider_network_computes_what_its_parent_computes(block: str, changed: Genes) -> None:
    genes: Genes = {"stage0.depth": 2, "block": block, "prune_ratio": 0.5, "head.width": 8}
    parent, child, kin = child_of({**genes, "expand_ratio": 3}, changed)

    check_computes_the_same(parent, child)
    assert 0.4 < kin.share < 1


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in NO_KERNEL])
def test_a_larger_kernel_computes_what_the_smaller_one_computes(block: str) -> None:
    small: Genes = {"kernel_size": 3, "cheap_kernel_size": 3, "form": "1x3_3x1"}
    grown: Genes = {"kernel_size": 5, "cheap_kernel_size": 5, "form": "1x5_5x1"}
    parent, child, _ = child_of({"stage0.depth": 2, "block": block, **small}, grown)

    check_computes_the_same(parent, child)


@pytest.mark.parametrize("block", RESIDUAL)
def test_a_new_residual_layer_begins_as_the_identity(block: str) -> None:
    parent, child, kin = child_of({"stage0.depth": 2, "block": block}, {"stage0.depth": 3})

    check_computes_the_same(parent, child)
    assert kin.share < 1


def test_a_residual_layer_in_the_place_of_a_skip_begins_as_the_identity() -> None:
    genes: Genes = {"stage0.depth": 2, "block": "plain", "stage0.layer1.block": "skip"}
    parent, child, _ = child_of(genes, {"stage0.layer1.block": "residual_basic"})

    check_computes_the_same(parent, child)


def test_equal_networks_inherit_every_array_as_it_is() -> None:
    random = Random(0)
    for seed in range(20):
        same = sample(LOW_BIT if seed % 2 else SPACE, random)
        kin, parent = Kinship(same, same), trained(same, seed)

        inherited = kin.arrays(first_arrays(same.graph), parent.arrays)

        assert kin.share == 1
        assert not inherited.unset
        assert inherited.arrays.keys() == parent.arrays.keys()
        for name, array in inherited.arrays.items():
            assert np.array_equal(array, parent.arrays[name]), name


def test_equal_layers_of_other_networks_are_exact_copies() -> None:
    parent = decided({"stage0.depth": 2, "block": "plain"})
    child = decided({"stage0.depth": 2, "block": "plain", "stage1.width": 24})
    model = trained(parent)

    arrays = Kinship(child, parent).arrays(first_arrays(child.graph), model.arrays).arrays

    for name in ("stem", "stage0.layer0.conv", "stage0.layer1.conv"):
        for part in ("weight", "norm.weight", "norm.bias", "norm.mean", "norm.variance"):
            assert np.array_equal(arrays[f"{name}.{part}"], model.arrays[f"{name}.{part}"])


def test_a_narrower_layer_keeps_the_best_channels_and_a_smaller_kernel_its_middle() -> None:
    genes: Genes = {"block": "plain", "kernel_size": 5, "stage0.width": 12, "stem.width": 12}
    parent = decided(genes)
    child = decided({**genes, "kernel_size": 3, "stage0.width": 8})
    model = trained(parent)

    arrays = Kinship(child, parent).arrays(first_arrays(child.graph), model.arrays).arrays

    name = "stage0.layer0.conv"
    best = np.argsort(-np.abs(model.arrays[f"{name}.norm.weight"]))[:8]
    before, after = model.arrays[f"{name}.weight"], arrays[f"{name}.weight"]
    assert np.array_equal(after, before[best][:, :, 1:4, 1:4])
    assert np.array_equal(arrays[f"{name}.norm.bias"], model.arrays[f"{name}.norm.bias"][best])
    read = "stage1.layer0.conv.weight"
    assert np.array_equal(arrays[read], model.arrays[read][:, best, 1:4, 1:4])


@pytest.mark.parametrize("space", [SPACE, LOW_BIT], ids=["real", "low-bit"])
def test_a_parent_in_order_computes_what_it_did(space: StagedSpace) -> None:
    random, moved = Random(4), 0
    for seed in range(12):
        architecture, child = sample(space, random), sample(space, random)
        same = architecture.graph.shapes.keys() & child.graph.shapes.keys() - {"input"}
        model = trained(architecture, seed)

        found = ordered(model, child.graph, same)

        moved += any(
            not np.array_equal(found.arrays[name], array) for name, array in model.arrays.items()
        )
        check_computes_the_same(model, found)
    assert moved > 2


def test_another_block_in_the_same_place_gives_nothing_though_its_layers_are_called_alike() -> (
    None
):
    genes: Genes = {"stage0.depth": 2, "stem.width": 8, "block": "residual_basic"}
    parent, child = decided(genes), decided({**genes, "stage0.layer0.block": "factorised"})
    names = {node.name for node in parent.graph.nodes} & {node.name for node in child.graph.nodes}
    assert "stage0.layer0.conv1" in names
    first, model = first_arrays(child.graph), trained(parent)

    arrays = Kinship(child, parent).arrays(first, model.arrays).arrays

    for part in ("weight", "norm.weight", "norm.mean"):
        name = f"stage0.layer0.conv1.{part}"
        assert np.array_equal(arrays[name], first[name])
    own = "stage0.layer1.conv1.weight"
    assert np.array_equal(arrays[own], model.arrays[own])


def test_steps_are_taken_where_precisions_agree_and_told_anew_elsewhere() -> None:
    genes: Genes = {"stage0.depth": 2, "block": "plain", "precision": "w8a8"}
    parent = decided(genes, LOW_BIT)
    child = decided({**genes, "stage0.layer1.precision": "w4a8"}, LOW_BIT)
    model = trained(parent)

    inherited = Kinship(child, parent).arrays(first_arrays(child.graph), model.arrays)

    assert inherited.unset == {"stage0.layer1.conv.weight.step"}
    for name, array in model.arrays.items():
        if name.endswith("step") and name not in inherited.unset:
            assert np.array_equal(inherited.arrays[name], array)


@pytest.mark.parametrize("block", RESIDUAL)
@pytest.mark.parametrize("precision", ["w8a8", "xnor"])
def test_no_map_that_is_quantized_begins_as_zeros(block: str, precision: str) -> None:
    genes: Genes = {"stage0.depth": 2, "block": block, "precision": precision}
    parent, child = decided(genes, LOW_BIT), decided({**genes, "stage0.depth": 3}, LOW_BIT)

    arrays = (
        Kinship(child, parent).arrays(first_arrays(child.graph), trained(parent).arrays).arrays
    )

    zero = [
        node
        for node in child.graph.nodes
        if f"{node.name}.norm.weight" in arrays and not arrays[f"{node.name}.norm.weight"].any()
    ]
    for node in zero:
        readers = child.graph.consumers[node.name]
        assert [type(reader.operator) for reader in readers] == [Add]


@pytest.mark.parametrize("space", [SPACE, LOW_BIT], ids=["real", "low-bit"])
def test_any_two_networks_of_a_space_give_a_child_its_own_shapes_and_finite_numbers(
    space: StagedSpace,
) -> None:
    random = Random(1)
    shares = []
    for seed in range(40):
        child, parent = sample(space, random), sample(space, random)
        kin = Kinship(child, parent)

        inherited = kin.arrays(first_arrays(child.graph), trained(parent, seed).arrays)

        Model(child.graph, inherited.arrays)  # states the rule about names and shapes
        assert all(np.isfinite(array).all() for array in inherited.arrays.values())
        assert inherited.unset <= {name for name in inherited.arrays if name.endswith("step")}
        shares.append(kin.share)
    assert 0 <= min(shares) < max(shares) <= 1


def test_the_share_counts_the_weights_that_are_the_parents() -> None:
    genes: Genes = {"block": "plain", "kernel_size": 1, "stem.width": 8}
    parent, child = decided(genes), decided({**genes, "stage0.layer0.plain.kernel_size": 3})
    model, marked = trained(parent), {}
    for name, array in model.arrays.items():
        marked[name] = np.full_like(array, 7)

    inherited = Kinship(child, parent).arrays(first_arrays(child.graph), marked).arrays

    weights = [array for name, array in inherited.items() if name.endswith(".weight")]
    weights = [array for array in weights if array.ndim > 1]
    counted = sum((array == 7).sum() for array in weights) / sum(array.size for array in weights)
    assert Kinship(child, parent).share == pytest.approx(counted)
