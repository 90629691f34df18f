"""Norms recomputed say what a plain torch network says after a cumulative average."""

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.tensors import TensorSplit
from nas.training.recipe.statistics import drawn_batches, norm_nodes, recomputed_norms
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, Dropout, GlobalAvgPool, Linear


def net() -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("first", Conv2d(6, (3, 3)), net.input)
    x = net.add("drop", Dropout(0.5), x)
    x = net.add("second", Conv2d(4, (3, 3), stride=(2, 2)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("logits", Linear(10), x)
    return net.graph()


@pytest.fixture
def model() -> Model:
    return random_model(net(), np.random.default_rng(0))


def plain_torch(model: Model) -> tuple[nn.Sequential, list[nn.BatchNorm2d]]:
    """The same network by hand, dropout left out, norms with a cumulative average."""
    layers: list[nn.Module] = []
    norms: list[nn.BatchNorm2d] = []
    for name, inputs, outputs, stride in (("first", 1, 6, 1), ("second", 6, 4, 2)):
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        norm = nn.BatchNorm2d(outputs, momentum=None)
        with torch.no_grad():
            conv.weight.copy_(torch.from_numpy(model.arrays[f"{name}.weight"]))
            norm.weight.copy_(torch.from_numpy(model.arrays[f"{name}.norm.weight"]))
            norm.bias.copy_(torch.from_numpy(model.arrays[f"{name}.norm.bias"]))
        layers += [conv, norm, nn.ReLU()]
        norms.append(norm)
    return nn.Sequential(*layers).train(), norms


def test_statistics_are_the_mean_over_all_batches(model: Model, digits_split: TensorSplit) -> None:
    found = recomputed_norms(model, digits_split, batch_size=100)

    plain, norms = plain_torch(model)
    with torch.no_grad():
        for rows in drawn_batches(digits_split, len(digits_split), 100):
            plain(digits_split.inputs(rows, (1, 8, 8)))
    for name, norm in zip(("first", "second"), norms, strict=True):
        for ours, theirs in (("mean", norm.running_mean), ("variance", norm.running_var)):
            assert theirs is not None
            np.testing.assert_allclose(
                found.arrays[f"{name}.norm.{ours}"], theirs.numpy(), rtol=1e-4, atol=1e-5
            )


def test_only_statistics_change(model: Model, digits_split: TensorSplit) -> None:
    found = recomputed_norms(model, digits_split, num_images=200)

    changed = {n for n, array in found.arrays.items() if not (array == model.arrays[n]).all()}
    assert norm_nodes(model.graph) == {"first", "second"}
    assert changed == {
        f"{name}.norm.{what}" for name in ("first", "second") for what in ("mean", "variance")
    }


def test_batches_are_drawn_over_all_of_a_sorted_split(digits_split: TensorSplit) -> None:
    in_order = digits_split.take(digits_split.labels.argsort())

    batches = drawn_batches(in_order, 300, 100)

    assert sum(map(len, batches)) == 300
    assert all(len(set(in_order.labels[rows].tolist())) == 10 for rows in batches)


def test_a_network_without_norms_stays_as_it_is(digits_split: TensorSplit) -> None:
    net = GraphBuilder((1, 8, 8))
    net.add("logits", Linear(10), net.input)
    model = random_model(net.graph(), np.random.default_rng(0))

    assert recomputed_norms(model, digits_split) is model
