"""Sparse linear layers as data: files, hashes, costs, weights, and what leaves them out."""

import numpy as np
import pytest

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.factors import Rank
from search_spaces.compression.low_rank import candidates, substituted
from search_spaces.compression.removal import remove_channels
from search_spaces.compression.sparsity import sparsity_of
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import BatchNorm, Linear
from search_spaces.graphs.precision import W8A8, Sparsity
from search_spaces.space.architecture import from_json, graph_hash, to_json
from search_spaces.space.space import Architecture

TENTH = Sparsity(0.1, 5)


def perceptron(sparsity: Sparsity | None = TENTH) -> Graph:
    net = GraphBuilder((40, 2, 1))
    x = net.add("hidden", Linear(100, activation="relu", sparsity=sparsity), net.input)
    net.add("classifier", Linear(10), x)
    return net.graph()


@pytest.mark.parametrize("sparsity", [TENTH, Sparsity(0.25), Sparsity(1), Sparsity(0, 8)])
def test_a_file_gives_the_sparsity_back(sparsity: Sparsity) -> None:
    graph = perceptron(sparsity)

    assert from_json(to_json(Architecture("", (), graph))).graph == graph


def test_a_layer_without_sparsity_says_nothing_of_it() -> None:
    written = to_json(Architecture("", (), perceptron(None)))["graph"]["nodes"][0]

    assert written == {
        **{"name": "hidden", "inputs": ["input"], "operator": "linear"},
        **{"out_features": 100, "activation": "relu"},
    }


def test_networks_that_differ_in_sparsity_have_other_hashes() -> None:
    graphs = [perceptron(s) for s in (None, TENTH, Sparsity(0.1), Sparsity(0.2, 5))]

    assert len(set(map(graph_hash, graphs))) == len(graphs)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"density": 1.5}, "density must be from 0 to 1, got 1.5"),
        ({"density": 0.1, "bits": 9}, "bits of a kept weight must be 1 to 8 or 32, got 9"),
        ({"density": "much"}, "must be a finite number, got 'much'"),
        ({"bits": 5}, "lacks 'density'"),
        ({"density": 0.1, "kind": "rows"}, "has no field 'kind'"),
    ],
)
def test_a_file_with_another_sparsity_is_refused(row: dict[str, object], message: str) -> None:
    data = to_json(Architecture("", (), perceptron()))
    data["graph"]["nodes"][0]["sparsity"] = row

    with pytest.raises(UserError, match=message) as refused:
        from_json(data)

    assert "\n" not in str(refused.value)


def test_coded_weights_are_not_sparse() -> None:
    with pytest.raises(ValueError, match="a sparse linear layer has precision fp32, got w8a8"):
        Linear(10, precision=W8A8, sparsity=TENTH)


def test_a_sparse_layer_costs_what_it_keeps() -> None:
    dense, sparse = network_cost(perceptron(None)), network_cost(perceptron())

    assert dense.macs - sparse.macs == 8000 - 800
    assert dense.params - sparse.params == 8000 - 800
    stored = 800 * (5 + 16) // 8 + 4 * 32
    assert dense.weight_bytes - sparse.weight_bytes == 4 * 8000 - stored


@pytest.mark.parametrize("sparsity", [TENTH, Sparsity(0.25), Sparsity(1, 1), Sparsity(0)])
def test_random_weights_are_as_sparse_as_is_stated(sparsity: Sparsity) -> None:
    weight = random_model(perceptron(sparsity), np.random.default_rng(0)).arrays["hidden.weight"]

    assert np.count_nonzero(weight) == sparsity.kept(weight.size)
    assert sparsity_of(weight).bits <= sparsity.bits


def test_other_weights_stay_the_random_ones_that_they_were() -> None:
    dense, again = (random_model(perceptron(None), np.random.default_rng(0)) for _ in range(2))

    for name, array in dense.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    assert np.count_nonzero(dense.arrays["hidden.weight"]) == 8000


def test_more_weights_or_values_than_stated_are_refused() -> None:
    model = random_model(perceptron(), np.random.default_rng(0))
    weight = model.arrays["hidden.weight"]
    full = np.ones_like(weight)
    various = weight * np.random.default_rng(0).uniform(1, 2, weight.shape).astype(np.float32)

    with pytest.raises(UserError, match=r"'hidden.weight' may have 800 weights .* got 8000"):
        Model(model.graph, {**model.arrays, "hidden.weight": full})
    with pytest.raises(UserError, match=r"may have 32 different weights \(5 bits\), got 800"):
        Model(model.graph, {**model.arrays, "hidden.weight": various})


def test_the_sparsity_of_weights_is_the_tightest() -> None:
    weight = np.zeros((4, 10), np.float32)
    weight[1] = [1, 1, 2, 2, 3, 3, 3, 0, 0, 0]

    assert sparsity_of(weight) == Sparsity(7 / 40, 2)
    assert sparsity_of(np.zeros((4, 10), np.float32)) == Sparsity(0, 1)
    assert sparsity_of(np.arange(1, 258, dtype=np.float32)) == Sparsity(1, 32)
    assert sparsity_of(np.arange(1, 9999, dtype=np.float32)) == Sparsity(1, 32)


def test_a_norm_stays_behind_a_layer_whose_weights_share_values() -> None:
    def folded(sparsity: Sparsity) -> list[str]:
        net = GraphBuilder((40, 1, 1))
        net.add("norm", BatchNorm(), net.add("layer", Linear(30, sparsity=sparsity), net.input))
        model = fold_batch_norm(random_model(net.graph(), np.random.default_rng(0)))
        return [node.name for node in model.graph.nodes]

    assert folded(TENTH) == ["layer", "norm"]
    assert folded(Sparsity(0.1)) == ["layer"]


def test_a_layer_of_other_weights_is_no_longer_sparse() -> None:
    model = random_model(perceptron(), np.random.default_rng(0))
    group = next(group for group in channel_groups(model.graph) if "hidden" in group.producers)

    cut = remove_channels(model, {group.name: range(50)})
    factors = next(iter(candidates(model, "hidden", Rank(energy=0.5)).values()))

    assert cut.graph.node("hidden").operator == Linear(50, activation="relu", prune_ratio=0.5)
    last = substituted(model, factors).graph.node("hidden").operator
    assert last == Linear(100, activation="relu")
