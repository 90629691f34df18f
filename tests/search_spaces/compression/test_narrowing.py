"""Narrowed networks are the published ones of that width, and any network can be narrowed."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.compression.narrowing import narrowed
from search_spaces.graphs.cost import count_params
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.networks import NETWORKS, get_network
from tests import oracle
from tests.search_spaces.compression.random_graphs import graphs


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet34", "mobilenet_v1"])
def test_half_of_a_network_is_its_published_width_multiplier(name: str) -> None:
    assert narrowed(NETWORKS[name](), 0.5) == NETWORKS[name](width=0.5)


@pytest.mark.parametrize(("factor", "times"), [(0.5, 4), (0.25, 16)])
def test_vgg_has_parameters_by_the_square_of_the_factor(factor: float, times: int) -> None:
    graph = get_network("vgg16")(resolution=32, num_classes=10)
    stages = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    widths = [3, *(int(width * factor) for width, depth in stages for _ in range(depth))]
    hidden = int(4096 * factor)

    convs = sum(9 * a * b + b for a, b in pairwise(widths))
    linears = widths[-1] * hidden + hidden + hidden * hidden + hidden + hidden * 10 + 10

    assert count_params(narrowed(graph, factor)) == convs + linears
    assert count_params(graph) / (convs + linears) == pytest.approx(times, rel=0.02)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("factor", [0.5, 0.25])
def test_every_network_gets_smaller_by_about_the_square(name: str, factor: float) -> None:
    graph = NETWORKS[name]()

    narrow = narrowed(graph, factor)

    assert narrow.input_shape == graph.input_shape
    assert narrow.output.shape == graph.output.shape
    assert count_params(graph) / count_params(narrow) > 1 / factor
    assert all(
        node.shape[1:] == whole.shape[1:]
        for node, whole in zip(narrow.nodes, graph.nodes, strict=True)
    )


def test_shufflenet_v2_gets_narrower_in_all_layers_but_the_classes() -> None:
    graph = get_network("shufflenet_v2")()

    halves = {
        node.name: (node.shape[0] / whole.shape[0])
        for node, whole in zip(narrowed(graph, 0.5).nodes, graph.nodes, strict=True)
    }

    assert {share for name, share in halves.items() if name != "classifier"} == {0.5}


@settings(max_examples=40, deadline=None)
@given(graphs(), st.sampled_from((0.25, 0.5, 0.7, 1.0)))
def test_any_network_narrowed_runs(graph: Graph, factor: float) -> None:
    narrow = narrowed(graph, factor)
    x = np.ones((1, *graph.input_shape))

    y = oracle.run(random_model(narrow, np.random.default_rng(0)), x)[narrow.output.name]

    assert y.shape == (1, 3, 1, 1)
    assert factor < 1 or narrow == graph


def test_a_factor_is_above_zero_and_at_most_one() -> None:
    for factor in (0.0, 1.5, -1.0):
        with pytest.raises(UserError, match="factor must be above 0 and at most 1, got"):
            narrowed(get_network("lenet5")(), factor)
