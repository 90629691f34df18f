"""The classification networks that come inside the onnx package, their weights of one value and
drawn at random: each is read and computes what ONNX Runtime computes for its file.
"""

import pytest

from latency_models.onnx.reading.agreement import check_agreement, run_as_written
from latency_models.onnx.reading.imported import read_model
from search_spaces.graphs.cost import count_params
from tests.latency_models.parts.published_files import (
    NETWORKS,
    SMALL,
    published,
    with_random_weights,
)


def check(name: str, millions: float) -> None:
    drawn = read_model(with_random_weights(published(name)), None)
    check_agreement(drawn, run_as_written(drawn.model))

    assert count_params(drawn.model.graph) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions"), NETWORKS.items())
def test_a_published_network_is_read_with_random_weights(name: str, millions: float) -> None:
    check(name, millions)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_published_network_is_read_as_its_file_is(name: str) -> None:
    found = read_model(published(name), None)

    check_agreement(found, run_as_written(found.model))


def test_the_smallest_published_network_is_read() -> None:
    check("squeezenet", NETWORKS["squeezenet"])
