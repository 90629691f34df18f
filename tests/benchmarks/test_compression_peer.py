"""What torch-pruning is given is our network, and what it leaves is one again."""

import numpy as np
import pytest
import torch

from benchmarks.compression.peer import TorchModule, from_torch, pruned_by_both
from nas.nn.interpreter import from_model
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.model import Model, random_model
from search_spaces.networks import get_network


@pytest.fixture(scope="module")
def model() -> Model:
    graph = get_network("resnet18")(width=0.25, resolution=32, num_classes=10)
    return random_model(graph, np.random.default_rng(0))


def test_a_model_in_torchs_layers_computes_the_same_there_and_back(model: Model) -> None:
    module = TorchModule(model).eval()
    x = torch.randn(2, *model.graph.input_shape)
    again = from_torch(module)

    with torch.no_grad():
        wanted = from_model(model)(x)
        assert torch.equal(module(x), wanted)
        assert torch.equal(from_model(again)(x), wanted)
    assert again.graph == model.graph


def test_both_leave_about_as_much_and_ours_not_more(model: Model) -> None:
    pytest.importorskip("torch_pruning", reason="the peer is a development dependency")

    ours, theirs = pruned_by_both(model, 0.5)

    left, theirs_left = (count_macs(m.graph) / count_macs(model.graph) for m in (ours, theirs))
    assert 0.45 < left <= theirs_left <= 0.5
