"""The penalty on scales is that of network slimming, and falls on batch norms alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplits, place
from nas.nn.interpreter import Interpreter
from nas.problem.training_config import OptimizerName, TrainingConfig
from nas.training.loop import TrainingResult, go_on, train
from nas.training.sparsity import norm_scales, scale_names, total_size
from nas.training.trainer import Trainer
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear

SGD = TrainingConfig(epochs=6, optimizer="sgd", learning_rate=0.1, seed=1)


@pytest.fixture(scope="module")
def digits() -> TensorSplits:
    tensors = place(split(load(make_source("digits")).data, seed=0))
    return replace(tensors, train=tensors.train.take(slice(400)))


def net() -> Graph:
    """A layer called like a norm's scale must not be taken for one."""
    net = GraphBuilder((1, 8, 8))
    x = net.add("wide", Conv2d(16, (3, 3)), net.input)
    x = net.add("plain", Conv2d(8, (1, 1), norm="none", bias=True), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("norm", Linear(10), x)
    return net.graph()


def scales_of(result: TrainingResult) -> np.ndarray:
    return np.concatenate([np.abs(result.model.arrays[name]) for name in scale_names(net())])


def test_scales_are_those_of_batch_norms_alone() -> None:
    assert scale_names(net()) == ("wide.norm.weight",)
    assert [scale.shape for scale in norm_scales(Interpreter(net()))] == [(16,)]


def test_the_subgradient_is_the_sign_and_zero_at_zero() -> None:
    scales = torch.tensor([0.5, -2.0, 0.0], requires_grad=True)

    total = total_size([scales])
    torch.autograd.backward(total)

    assert float(total.detach()) == 2.5
    assert scales.grad is not None
    assert scales.grad.tolist() == [1.0, -1.0, 0.0]


def test_the_loss_has_the_weighted_sum_of_sizes_added(digits: TensorSplits) -> None:
    inputs = digits.train.inputs(slice(32), (1, 8, 8))
    losses = []
    for weight in (0.0, 1e-2):
        module = Interpreter(net(), generator=torch.Generator().manual_seed(0)).train()
        with torch.no_grad():
            module.below("wide.norm")["weight"].copy_(torch.linspace(-1, 2, 16))
        trainer = Trainer(module, digits.train, replace(SGD, norm_l1=weight), go_on)
        losses.append(float(trainer.loss(inputs, digits.train.labels[:32]).detach()))

    assert losses[1] - losses[0] == pytest.approx(1e-2 * np.abs(np.linspace(-1, 2, 16)).sum())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_scales_fall_under_the_penalty(optimizer: OptimizerName, digits: TensorSplits) -> None:
    config = replace(SGD, optimizer=optimizer, learning_rate=0.1 if optimizer == "sgd" else 0.01)

    plain, sparse = (train(net(), digits, replace(config, norm_l1=w)) for w in (0.0, 0.02))

    assert scales_of(sparse).sum() < 0.8 * scales_of(plain).sum()
