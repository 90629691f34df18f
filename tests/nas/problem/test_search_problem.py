"""A configuration means data, a space that fits it, and published networks."""

from typing import Any

import pytest
import torch

from nas.problem.records import BaselineConfig
from nas.problem.search_problem import baseline, baseline_name, load_setting
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.networks import NETWORKS
from search_spaces.quantization.insertion import without_quantizers
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import restore
from search_spaces.space.staged import StagedSpace
from tests.nas.parts.tiny import tiny


@pytest.fixture(scope="module")
def space() -> StagedSpace:
    return load_setting(tiny().config()).space


def test_the_space_takes_the_channels_and_classes_of_the_data() -> None:
    setting = load_setting(tiny().config())

    assert (setting.space.in_channels, setting.space.num_classes) == (1, 10)
    assert len(setting.splits.train) == 60
    assert len(setting.tensors.validation) == 60
    assert torch.get_num_threads() == 1


def test_data_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match="train split must have 1 to 1796 of 1797 images, got 500"):
        load_setting(tiny(data={"train": 5000}).config())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_network_is_a_baseline_for_the_data(name: str, space: StagedSpace) -> None:
    architecture = baseline(BaselineConfig(name, resolution=96), space)

    assert architecture.space == f"{name} @96"
    assert architecture.graph.input_shape == (1, 96, 96)
    assert architecture.graph.output.shape == (10, 1, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_network_is_a_baseline_at_another_precision(
    name: str, space: StagedSpace
) -> None:
    plain = baseline(BaselineConfig(name, resolution=96), space)

    for precision, ends in (("w4a4", "w8a8"), ("xnor", "w8a8"), ("bwn", "fp32")):
        item = BaselineConfig(name, resolution=96, precision=precision)
        graph = baseline(item, space).graph
        layers = [n.operator for n in graph.nodes if isinstance(n.operator, Conv2d | Linear)]

        assert graph_hash(without_quantizers(graph)) != graph_hash(plain.graph)
        assert network_cost(graph).macs == network_cost(plain.graph).macs
        assert {layers[0].precision.name, layers[-1].precision.name} == {ends}
        assert precision in {layer.precision.name for layer in layers[1:-1]}


def test_linear_layers_of_a_published_network_go_without_the_magnitude_map(
    space: StagedSpace,
) -> None:
    item = BaselineConfig("lenet5", resolution=32, precision="xnor_k")

    layers = baseline(item, space).graph.nodes
    found = {
        type(node.operator): node.operator.precision.name
        for node in layers[1:-1]
        if isinstance(node.operator, Conv2d | Linear)
    }

    assert found == {Conv2d: "xnor_k", Linear: "xnor"}


def test_a_baseline_takes_the_spaces_largest_resolution(space: StagedSpace) -> None:
    architecture = baseline(BaselineConfig("lenet_300_100"), space)

    assert architecture.graph.input_shape == (1, 8, 8)


def test_baselines_have_names_that_tell_them_apart() -> None:
    items: list[Any] = [
        "mobilenet_v2",
        {"network": "mobilenet_v2", "width": 0.5},
        {"network": "mobilenet_v2", "resolution": 16},
        {"network": "mobilenet_v2", "width": 0.5, "resolution": 16},
        {"network": "mobilenet_v2", "resolution": 16, "precision": "w8a8"},
    ]
    config = tiny(space={"resolution": 32}, baselines=items).config()

    assert list(load_setting(config).baselines) == [
        "mobilenet_v2",
        "mobilenet_v2 x0.5",
        "mobilenet_v2 @16",
        "mobilenet_v2 x0.5 @16",
        "mobilenet_v2 @16 w8a8",
    ]


def test_a_baseline_that_lies_in_the_space_comes_with_its_genes(space: StagedSpace) -> None:
    blocks = {"depthwise_separable": {"kernel_size": 3}, "plain": None}
    widths = {"stage0": (16, 1, 1), "stage1": (32, 2, 2), "stage2": (64, 2, 2)}
    stages = [
        {"depth": [1, depth] if depth > 1 else 1, "width": [8, width], "stride": stride}
        for width, depth, stride in (*widths.values(), (128, 6, 2), (256, 2, 2))
    ]
    config = tiny(
        space={
            "resolution": 32,
            "stem": {"width": 8, "stride": 2},
            "stages": [stage | {"blocks": blocks} for stage in stages],
        }
    ).config()
    here = load_setting(config).space

    found = baseline(BaselineConfig("mobilenet_v1", 0.25), here)

    assert found.genes
    assert restore(here, dict(found.genes)).graph == found.graph


@pytest.mark.parametrize(
    "item", [BaselineConfig("vgg16", resolution=8), BaselineConfig("alexnet", resolution=16)]
)
def test_a_network_that_cannot_be_that_small_is_named(
    item: BaselineConfig, space: StagedSpace
) -> None:
    with pytest.raises(UserError, match=f"baseline {baseline_name(item)} at resolution"):
        baseline(item, space)
