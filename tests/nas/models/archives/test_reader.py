"""A reader that knows the page about the format alone reads what the archive's own reader does."""

from typing import Any

import numpy as np
import pytest

from nas.models.archives.archive import archive_bytes
from nas.models.archives.forms import Entropy
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import read_graph
from tests.nas.parts.archives import shared_model, stored_model
from tests.nas.parts.slow_reader import read_slowly


def small_network() -> Graph:
    """One layer of every kind, with several blocks of rows and columns left over."""
    net = GraphBuilder((2, 9, 9))
    x = net.add("conv", Conv2d(90, (5, 5), norm="batch"), net.input)
    x = net.add("depthwise", Conv2d(90, (3, 3), groups=90, norm="none"), x)
    x = net.add("pointwise", Conv2d(70, (1, 1), norm="none"), x)
    x = net.add("pool", GlobalAvgPool(), x)
    x = net.add("fc1", Linear(110), x)
    net.add("fc2", Linear(7), x)
    return net.graph()


def shapes(data: Any) -> dict[str, tuple[int, ...]]:  # noqa: ANN401  (JSON)
    return read_graph(data).array_shapes()


@pytest.mark.parametrize("entropy", ["huffman", "ans"])
@pytest.mark.parametrize(("density", "values"), [(0.1, 9), (0.7, 40), (1.0, 3)])
def test_the_page_is_enough_to_read_an_archive(
    entropy: Entropy, density: float, values: int
) -> None:
    model = shared_model(small_network(), density, values)

    head, arrays = read_slowly(archive_bytes(stored_model(model), entropy), shapes)

    assert head["name"] == "a network"
    assert arrays.keys() == model.arrays.keys()
    for name, numbers in arrays.items():
        assert np.array(numbers, np.float32).tobytes() == model.arrays[name].tobytes(), name
