"""Shared layers take as few values as their bits allow, the nearest ones; zeros stay zeros."""

from collections.abc import Mapping

import numpy as np
import pytest

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression.clustering import k_means
from search_spaces.compression.sharing import (
    codebook,
    is_shared,
    share_weights,
    usual_bits,
)
from search_spaces.compression.weight_pruning import prune_weights
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import get_precision
from search_spaces.quantization.reprecision import with_precision


def net() -> Graph:
    net = GraphBuilder((3, 6, 6))
    x = net.add("conv1", Conv2d(16, (3, 3)), net.input)
    x = net.add("conv2", Conv2d(32, (1, 1), norm="none", bias=True), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("fc", Linear(10), x)
    return net.graph()


def model() -> Model:
    return random_model(net(), np.random.default_rng(0))


def test_layers_have_the_bits_of_their_kind_and_others_by_pattern() -> None:
    assert usual_bits(net()) == {"conv1": 8, "conv2": 8, "fc": 5}
    assert usual_bits(net(), 6, 4, {"conv*": 3, "conv2": 2}) == {"conv1": 3, "conv2": 2, "fc": 4}


def test_a_layer_takes_no_more_values_than_its_bits_and_the_rest_stays() -> None:
    given = model()

    made = share_weights(given)

    assert len(codebook(made.arrays["conv1.weight"])) == 256
    assert len(codebook(made.arrays["fc.weight"])) == 32
    assert made.graph == given.graph
    others = [name for name in given.arrays if not name.endswith("v1.weight")]
    others = [name for name in others if name not in ("conv2.weight", "fc.weight")]
    assert len(others) == 6
    assert all(made.arrays[name] is given.arrays[name] for name in others)


def test_weights_are_the_centroids_of_the_weights_that_are_not_zero() -> None:
    given = prune_weights(model(), "ratio", 0.6)

    made = share_weights(given, {"fc": 3})

    before, after = given.arrays["fc.weight"], made.arrays["fc.weight"]
    assert np.array_equal(before == 0, after == 0)
    found = k_means(before[before != 0], 8)
    assert np.array_equal(after[after != 0], found.centroids.astype(np.float32)[found.labels])
    assert made.arrays["conv1.weight"].tolist() == given.arrays["conv1.weight"].tolist()


def test_sharing_again_at_as_many_bits_changes_nothing() -> None:
    once = share_weights(prune_weights(model(), "ratio", 0.5))

    twice = share_weights(once)

    assert all(np.array_equal(once.arrays[name], twice.arrays[name]) for name in once.arrays)


def test_a_layer_of_zeros_or_of_few_values_stays() -> None:
    given = model()
    few = np.sign(given.arrays["conv2.weight"])
    arrays = {**given.arrays, "fc.weight": np.zeros((10, 32), np.float32), "conv2.weight": few}

    made = share_weights(Model(net(), arrays), {"fc": 1, "conv2": 1})

    assert not made.arrays["fc.weight"].any()
    assert np.array_equal(made.arrays["conv2.weight"], few)


def test_a_network_that_was_not_shared_is_not_taken_for_one() -> None:
    given = prune_weights(model(), "ratio", 0.5)
    made = share_weights(given, {"conv1": 4})

    assert not any(is_shared(given.arrays[f"{name}.weight"]) for name in ("conv1", "fc"))
    assert is_shared(made.arrays["conv1.weight"])
    assert not is_shared(np.zeros((3, 3), np.float32))


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ({"conv3": 4}, "no layer is called 'conv3'; the layers are conv1, conv2, fc"),
        ({"fc": 0}, "fc: weights are shared at 1 to 16 bits, got 0"),
        ({"fc": 17}, "fc: weights are shared at 1 to 16 bits, got 17"),
    ],
)
def test_what_cannot_be_is_one_line(bits: Mapping[str, int], said: str) -> None:
    with pytest.raises(UserError) as error:
        share_weights(model(), bits)

    assert str(error.value) == said


def test_codes_and_broken_weights_are_refused() -> None:
    coded = random_model(
        with_precision(net(), {"fc": get_precision("w4a4")}), np.random.default_rng(0)
    )
    broken = {**model().arrays, "fc.weight": np.full((10, 32), np.nan, np.float32)}

    with pytest.raises(UserError, match=r"^fc: .* at fp32, got w4a4; quantize afterwards"):
        share_weights(coded)
    with pytest.raises(UserError, match=r"^fc: a weight is NaN or infinite"):
        share_weights(Model(net(), broken))
