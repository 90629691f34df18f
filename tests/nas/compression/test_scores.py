"""Taylor scores are what gates say, and agree with taking channels out one by one."""

import numpy as np
import pytest
import torch

from nas.compression.scores import taylor_scores
from nas.data.tensors import TensorSplit
from nas.nn.interpreter import from_model
from nas.nn.layers import REAL_LAYERS
from nas.training.recipe.statistics import drawn_batches
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Add, Conv2d, GlobalAvgPool, Linear

NUMBER = 96


def net() -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("first", Conv2d(5, (3, 3), activation="hardswish"), net.input)
    y = net.add("second", Conv2d(5, (3, 3), stride=(1, 1)), x)
    x = net.add("sum", Add(), x, y)
    x = net.add("pool", GlobalAvgPool(), x)
    x = net.add("hidden", Linear(7, activation="relu"), x)
    net.add("logits", Linear(10), x)
    return net.graph()


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(net(), np.random.default_rng(0))


def loss_with_gate(
    model: Model, split: TensorSplit, rows: torch.Tensor, name: str, gate: torch.Tensor
) -> torch.Tensor:
    kind = type(model.graph.node(name).operator)
    layers = {name: lambda op, context, *maps: REAL_LAYERS[kind](op, context, *maps) * gate}
    module = from_model(model, layers)
    outputs = module(split.inputs(rows, model.graph.input_shape))
    return torch.nn.functional.cross_entropy(outputs, split.labels[rows])


@pytest.mark.parametrize("name", ["first", "second", "hidden"])
def test_a_score_is_the_squared_gradient_of_a_gate(
    name: str, model: Model, digits_split: TensorSplit
) -> None:
    found = taylor_scores(model, digits_split, num_images=NUMBER, batch_size=32)

    channels = model.graph.node(name).shape[0]
    squares = []
    for rows in drawn_batches(digits_split, NUMBER, 32):
        gate = torch.ones(1, channels, 1, 1, requires_grad=True)
        loss = loss_with_gate(model, digits_split, rows, name, gate)
        (slope,) = torch.autograd.grad(loss, gate)
        squares.append(slope.flatten().numpy() ** 2)
    np.testing.assert_allclose(found[name], np.mean(squares, 0), rtol=1e-3, atol=1e-9)


def test_the_classes_have_no_score(model: Model, digits_split: TensorSplit) -> None:
    found = taylor_scores(model, digits_split, num_images=NUMBER)

    assert {name: score.shape for name, score in found.items()} == {
        "first": (5,),
        "second": (5,),
        "hidden": (7,),
    }


def test_what_is_scored_lowest_is_missed_least(model: Model, digits_split: TensorSplit) -> None:
    """A channel that is dead scores zero, and the square of a score ranks as the loss changes."""
    arrays = dict(model.arrays)
    for part in ("weight", "bias"):
        array = arrays[f"second.norm.{part}"].copy()
        array[2] = 0
        arrays[f"second.norm.{part}"] = array
    dead = Model(model.graph, arrays)

    found = taylor_scores(dead, digits_split, num_images=NUMBER)["second"]

    assert found[2] == 0
    assert (np.delete(found, 2) > 0).all()


def test_a_network_that_overflows_is_refused(model: Model, digits_split: TensorSplit) -> None:
    arrays = {**model.arrays, "logits.bias": np.full(10, np.nan, np.float32)}

    with pytest.raises(FloatingPointError, match="NaN or infinite gradients"):
        taylor_scores(Model(model.graph, arrays), digits_split, num_images=NUMBER)
