"""Responses are what a layer's products give, at positions of the map."""

import numpy as np
import pytest
import torch

from nas.compression.responses import POSITIONS, responses
from nas.data.tensors import TensorSplit
from nas.training.accuracy import logits
from nas.training.recipe.statistics import drawn_batches
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, Linear, MaxPool


def net() -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("first", Conv2d(5, (3, 3)), net.input)
    x = net.add("pool", MaxPool((4, 4), (4, 4)), x)
    x = net.add("second", Conv2d(6, (1, 1), bias=True, norm="none"), x)
    net.add("logits", Linear(10), x)
    return net.graph()


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(net(), np.random.default_rng(0))


def test_a_map_smaller_than_the_positions_is_taken_whole(
    model: Model, digits_split: TensorSplit
) -> None:
    found = responses(model, digits_split, ["second", "logits"], num_images=40)

    assert found["second"].shape == (40 * 4, 6)
    assert found["logits"].shape == (40, 10)


def test_responses_are_before_norm_and_activation(model: Model, digits_split: TensorSplit) -> None:
    found = responses(model, digits_split, ["first"], num_images=20)["first"]

    assert found.shape == (20 * POSITIONS, 5)
    assert (found < 0).any()
    (rows,) = drawn_batches(digits_split, 20, 32)
    inputs = digits_split.inputs(rows, (1, 8, 8))
    whole = torch.conv2d(inputs, torch.from_numpy(model.arrays["first.weight"]), padding=1)
    of_each = whole.flatten(2).permute(0, 2, 1).numpy()
    for image, answers in zip(of_each, found.reshape(20, POSITIONS, 5), strict=True):
        nearest = np.abs(answers[:, None] - image[None]).max(2)
        assert nearest.min(1).max() < 1e-5
        assert len(set(nearest.argmin(1))) > POSITIONS // 2  # drawn, each position once


def test_responses_are_before_the_bias(model: Model, digits_split: TensorSplit) -> None:
    found = responses(model, digits_split, ["logits"], num_images=20)["logits"]

    outputs = logits(model, digits_split.take(drawn_batches(digits_split, 20, 32)[0]))
    np.testing.assert_allclose(found + model.arrays["logits.bias"], outputs, atol=1e-5)


def test_the_same_samples_are_drawn_every_time(model: Model, digits_split: TensorSplit) -> None:
    one, other = (responses(model, digits_split, ["first"], num_images=20) for _ in range(2))

    np.testing.assert_array_equal(one["first"], other["first"])
