"""Files that we wrote: read back, they are the network that was written."""

from collections import Counter

import numpy as np
import pytest

from latency_models.onnx.model import onnx_model
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.model import fold_batch_norm, random_model
from search_spaces.graphs.operators import Dropout
from search_spaces.networks import NETWORKS
from tests.latency_models.parts.onnx_text import imported

ROUND_TRIPS = (
    *("lenet5", "mobilenet_v2", "ghostnet", "shufflenet_v1_g3", "shufflenet_v2"),
    *("squeezenet_1_1", "resnet18"),
)


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_network_that_we_wrote_is_read_back_with_its_operators(name: str) -> None:
    graph = NETWORKS[name]() if name == "lenet5" else NETWORKS[name](resolution=64)
    model = fold_batch_norm(random_model(graph, np.random.default_rng(0)))

    found = imported(onnx_model(model)).model

    assert count_macs(found.graph) == count_macs(graph)
    read, ours = (
        Counter(type(node.operator) for node in each.graph.nodes) for each in (found, model)
    )
    del ours[Dropout]
    assert read == ours
