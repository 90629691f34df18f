"""The pruned network is the masked one: exactly in whole numbers, else but for rounding."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.nn.interpreter import LayerFunction, from_model, layer_of
from search_spaces.blocks import BLOCKS, Block
from search_spaces.blocks.skip import Skip
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.removal import Kept, kept_channels, remove_channels
from search_spaces.graphs.cost import count_params
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.graphs.precision import PRECISIONS, Precision
from search_spaces.networks import NETWORKS, get_network
from search_spaces.quantization.codes import snap_weights
from tests import oracle
from tests.search_spaces.compression.masked import run_masked, some_units, whole_numbers
from tests.search_spaces.compression.random_graphs import graphs

# Of the largest output, in float64: a few hundred roundings of 1.1e-16, however they are ordered.
ROUNDING = 1e-13
seeds = st.integers(0, 1 << 16)


def interpreted(model: Model, x: Array, kept: Kept | None = None) -> np.ndarray:
    """What torch computes in float64, each map masked by ``kept``."""

    def masked(name: str) -> LayerFunction:
        layer = layer_of(model.graph.node(name))
        if kept is None:
            return layer
        mask = torch.from_numpy(kept[name])[:, None, None]
        return lambda *given: layer(*given) * mask

    module = from_model(model, {node.name: masked(node.name) for node in model.graph.nodes})
    with torch.no_grad():
        return module.double()(torch.from_numpy(x.astype(np.float64))).numpy()


def assert_pruned_is_masked(model: Model, seed: int = 0) -> Model:
    """Removes some of every group, compares, and returns what is left."""
    rng = np.random.default_rng(seed)
    groups = channel_groups(model.graph)
    gone = some_units(model.graph, groups, rng)
    pruned = remove_channels(model, gone)
    x = rng.normal(size=(2, *model.graph.input_shape)).astype(np.float32)

    wanted = interpreted(model, x, kept_channels(model.graph, groups, gone))

    assert np.abs(interpreted(pruned, x) - wanted).max() <= ROUNDING * np.abs(wanted).max()
    assert sum(map(len, gone.values())) > 0
    return pruned


@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_network_pruned_is_the_masked_one(name: str) -> None:
    fixed = ("shufflenet_v2", "lenet5", "lenet_300_100")
    width = 1.0 if name in fixed else 0.25
    graph = NETWORKS[name](width=width, resolution=64, num_classes=5)
    model = random_model(graph, np.random.default_rng(0))

    pruned = assert_pruned_is_masked(model)

    assert count_params(pruned.graph) < count_params(graph)
    assert pruned.graph.output.shape == graph.output.shape


def blocks() -> list[Block]:
    """Every block at its first and at its last choices."""
    made = []
    for cls in BLOCKS.values():
        for at in (0, -1):
            made.append(cls(**{choice.name: choice.values[at] for choice in cls.choices}))
    return made


def placed(block: Block, layer: Layer) -> Graph:
    """The block twice: once as asked, once where it keeps its shape."""
    net = GraphBuilder((3, 9, 9))
    x = net.add("stem", Conv2d(16), net.input)
    for name, each in (("first", layer), ("second", Layer(layer.out_channels))):
        with net.scope(name):
            x = block.add_to(net, x, each)
    net.add("classifier", Linear(4), x)
    return net.graph()


STRIDED = [each for each in product(blocks(), (1, 2)) if each != (Skip(), 2)]


@pytest.mark.parametrize(("block", "stride"), STRIDED, ids=str)
def test_every_block_pruned_is_the_masked_one(block: Block, stride: int) -> None:
    graph = placed(block, Layer(16 if block == Skip() else 24, stride))

    assert_pruned_is_masked(random_model(graph, np.random.default_rng(1)))


@settings(max_examples=60, deadline=None)
@given(graphs(), seeds)
def test_random_networks_pruned_are_the_masked_ones(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = channel_groups(graph)
    model = random_model(graph, rng)
    gone = some_units(graph, groups, rng, 0.6)
    x = rng.normal(size=(1, *graph.input_shape))

    wanted = run_masked(model, x, kept_channels(graph, groups, gone))[graph.output.name]
    found = oracle.run(remove_channels(model, gone), x)[graph.output.name]

    assert np.abs(found - wanted).max() <= ROUNDING * max(1, np.abs(wanted).max())


@settings(max_examples=40, deadline=None)
@given(graphs(norm="none"), seeds)
def test_in_whole_numbers_pruned_and_masked_are_equal(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = channel_groups(graph)
    model = whole_numbers(random_model(graph, rng), rng)
    gone = some_units(graph, groups, rng, 0.6)
    x = rng.integers(-2, 3, (1, *graph.input_shape)).astype(np.float64)

    wanted = run_masked(model, x, kept_channels(graph, groups, gone))[graph.output.name]
    found = oracle.run(remove_channels(model, gone), x)[graph.output.name]

    if np.abs(wanted).max() < 2**40 and not divides(graph):
        assert np.array_equal(found, wanted)


def divides(graph: Graph) -> bool:
    """Whether a mean leaves fractions that sums of many terms may round."""
    return any("Avg" in type(node.operator).__name__ for node in graph.nodes)


@settings(max_examples=30, deadline=None)
@given(graphs(), seeds)
def test_removing_nothing_changes_nothing(graph: Graph, seed: int) -> None:
    model = random_model(graph, np.random.default_rng(seed))

    same = remove_channels(model, {})

    assert same.graph == graph
    assert all(np.array_equal(same.arrays[name], model.arrays[name]) for name in model.arrays)


@settings(max_examples=30, deadline=None)
@given(graphs(), seeds)
def test_what_is_left_can_be_pruned_again(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = remove_channels(
        random_model(graph, rng), some_units(graph, channel_groups(graph), rng, 0.3)
    )
    groups = channel_groups(first.graph)
    gone = some_units(first.graph, groups, rng, 0.3)
    x = rng.normal(size=(1, *graph.input_shape))

    wanted = run_masked(first, x, kept_channels(first.graph, groups, gone))
    found = oracle.run(remove_channels(first, gone), x)

    output = graph.output.name
    assert np.abs(found[output] - wanted[output]).max() <= ROUNDING * max(
        1, np.abs(wanted[output]).max()
    )


@pytest.mark.parametrize("name", ["w8a8", "w4a8", "w4a4", "w2a2", "bwn", "xnor"])
def test_coded_layers_pruned_are_the_masked_ones(name: str) -> None:
    """Steps, gains and magnitudes of signs go along; 1x1, as readers of signs see -1 outside."""
    graph = coded(PRECISIONS[name])
    rng = np.random.default_rng(0)
    model = snap_weights(random_model(graph, rng))
    groups = channel_groups(graph)
    gone = some_units(graph, groups, rng)
    x = rng.normal(size=(2, *graph.input_shape))

    wanted = run_masked(model, x, kept_channels(graph, groups, gone))[graph.output.name]
    found = oracle.run(remove_channels(model, gone), x)[graph.output.name]

    # Magnitudes of signs are kept in float32.
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


def coded(precision: Precision) -> Graph:
    net = GraphBuilder((3, 5, 5))
    x = net.add("stem", Conv2d(32, (3, 3)), net.input)
    y = net.add("conv1", Conv2d(32, precision=precision), x)
    y = net.add("conv2", Conv2d(32, precision=precision, activation="none"), y)
    y = net.add("linear", Linear(16, precision=precision), y)
    net.add("classifier", Linear(4), y)
    return net.graph()


def test_vgg_pruned_by_half_has_the_parameters_of_hand_arithmetic() -> None:
    graph = get_network("vgg16")(width=0.125, resolution=32, num_classes=10)
    groups = channel_groups(graph)
    model = random_model(graph, np.random.default_rng(0))

    pruned = remove_channels(model, {g.name: range(g.size // 2) for g in groups})

    widths = [3, *(n for n, count in ((4, 2), (8, 2), (16, 3), (32, 6)) for _ in range(count))]
    convs = sum(9 * a * b + b for a, b in pairwise(widths))
    linears = 32 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert count_params(pruned.graph) == convs + linears


def test_a_prune_ratio_is_the_share_of_the_first_channels() -> None:
    net = GraphBuilder((3, 4, 4))
    net.add("classifier", Linear(2), net.add("conv", Conv2d(8, prune_ratio=0.5), net.input))
    model = random_model(net.graph(), np.random.default_rng(0))

    conv = remove_channels(model, {"conv": (0, 3)}).graph.node("conv").operator

    assert isinstance(conv, Conv2d)
    assert (conv.out_channels, conv.prune_ratio) == (6, 0.625)  # 6 of 16


def test_what_cannot_be_removed_is_told_in_one_line() -> None:
    model = random_model(get_network("lenet5")(), np.random.default_rng(0))

    with pytest.raises(
        UserError, match=r"no group of channels is called 'x'; the groups are conv"
    ):
        remove_channels(model, {"x": (0,)})
    with pytest.raises(UserError, match="conv1 has units 0 to 19, got 20"):
        remove_channels(model, {"conv1": (20,)})
    with pytest.raises(UserError, match="conv1: it would lose all of its 20 channels; remove few"):
        remove_channels(model, {"conv1": range(20)})
