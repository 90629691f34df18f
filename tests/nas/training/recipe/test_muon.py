"""Muon moves matrices by what a singular value decomposition says, group by group."""

from math import sqrt

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from nas.nn.interpreter import Interpreter
from nas.problem.training_config import TrainingConfig
from nas.training.recipe.muon import Muon, orthogonal
from nas.training.recipe.optimizer import (
    MUON_RATE,
    MUON_RATE_WITHOUT_NORMS,
    RATE_BESIDE_MUON,
    is_behind_signs,
    make_optimizers,
    num_matrices,
    rate_share,
)
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import get_network
from tests.nas.parts.trainings import dropping_net

Matrix = NDArray[np.float64]


def flattened(matrix: Matrix) -> Matrix:
    """Each singular value through the polynomial, one by one."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / (np.sqrt((values**2).sum()) + 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return np.asarray(left @ np.diag(values) @ right)


@pytest.mark.parametrize(("rows", "columns"), [(16, 27), (40, 8), (1, 9), (5, 5), (3, 1)])
def test_matrices_become_what_their_singular_values_say(rows: int, columns: int) -> None:
    given = torch.randn(4, rows, columns, generator=torch.Generator().manual_seed(rows))

    found = orthogonal(given).double().numpy()

    for ours, matrix in zip(found, given.double().numpy(), strict=True):
        np.testing.assert_allclose(ours, flattened(matrix), atol=2e-4)
        values = np.linalg.svd(ours, compute_uv=False)
        assert 0.6 < values.min() <= values.max() < 1.25


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not orthogonal(torch.zeros(2, 3, 4)).any()


def test_a_grouped_convolution_is_moved_as_a_matrix_for_each_group() -> None:
    rate, momentum, decay, groups = 0.1, 0.8, 0.5, 4
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 3, 2, 2).to(memory_format=torch.channels_last))
    wanted, buffer = weight.detach().double().numpy().copy(), np.zeros((8, 3, 2, 2))
    optimizer = Muon([{"params": [weight], "matrices": groups}], rate, momentum)
    optimizer.param_groups[0]["weight_decay"] = decay

    for _ in range(3):
        weight.grad = torch.randn(8, 3, 2, 2)
        gradient = weight.grad.double().numpy()
        buffer = momentum * buffer + (1 - momentum) * gradient
        nesterov = momentum * buffer + (1 - momentum) * gradient
        wanted *= 1 - rate * decay
        for group in range(groups):
            part = slice(2 * group, 2 * group + 2)
            move = flattened(nesterov[part].reshape(2, 12)).reshape(2, 3, 2, 2)
            wanted[part] -= rate * sqrt(max(1, 2 / 12)) * move
        optimizer.step()

    np.testing.assert_allclose(weight.detach().numpy(), wanted, atol=1e-4)


def test_equal_shapes_are_moved_as_they_would_be_alone() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(3, 6, 5), torch.randn(3, 6, 5)
    alone, together = ([nn.Parameter(each.clone()) for each in start] for _ in range(2))
    for parameters in (alone, together):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()

    for parameter in alone:
        Muon([{"params": [parameter], "matrices": 1}], 0.1, 0.9).step()
    Muon([{"params": together, "matrices": 1}], 0.1, 0.9).step()

    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["fp32", "w8a8", "bwn", "xnor"])
def test_every_array_has_one_optimizer_and_layers_have_muon(name: str) -> None:
    module = Interpreter(dropping_net(PRECISIONS[name]))

    optimizers = make_optimizers(module, TrainingConfig(optimizer="muon"))

    owners = {
        id(parameter): type(optimizer)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found = {key: owners[id(parameter)] for key, parameter in module.named_parameters()}
    assert len(owners) == len(found)
    layers = {f"{layer}.weight" for layer in ("stem", "first", "second", "logits")}
    if name == "xnor":  # of whose layers the first and the last may be others
        layers -= {key for key in layers if is_behind_signs(module, key)}
    assert {key for key, kind in found.items() if kind is Muon} == layers
    held = make_optimizers(module, TrainingConfig(optimizer="muon", hold="zeros"))
    assert [type(each) for each in held] == [torch.optim.AdamW]


def test_layers_that_take_eight_times_longer_to_make_orthogonal_than_to_train_are_left() -> None:
    graph = get_network("lenet5")(num_classes=10)
    config = TrainingConfig(optimizer="muon", batch_size=64)
    shapes = {
        name: shape for name, shape in graph.array_shapes().items() if name.endswith(".weight")
    }

    found = {name: num_matrices(graph, name, shape, config) for name, shape in shapes.items()}

    for name, (rows, *rest) in shapes.items():
        columns = int(np.prod(rest))
        small, large = min(rows, columns), max(rows, columns)
        orthogonal_macs = 5 * (small * large * small + small**3 + small * small * large)
        pixels = int(np.prod(graph.node(name.removesuffix(".weight")).shape[1:]))
        training_macs = 3 * 64 * pixels * rows * columns  # forward, and back in both directions
        assert found[name] == (orthogonal_macs <= 8 * training_macs), name
    assert set(found.values()) == {0, 1}


def test_networks_without_norms_are_moved_less() -> None:
    for graph, muons, beside in (
        (get_network("lenet5")(num_classes=10), MUON_RATE_WITHOUT_NORMS, RATE_BESIDE_MUON),
        (dropping_net(PRECISIONS["fp32"]), MUON_RATE, 1.0),
    ):
        module = Interpreter(graph)
        for optimizer in make_optimizers(module, TrainingConfig(optimizer="muon", batch_size=2)):
            for group in optimizer.param_groups:
                for name, parameter in module.named_parameters():
                    if not any(parameter is each for each in group["params"]):
                        continue
                    share = rate_share(module, name, parameter)
                    share *= beside if parameter.dim() > 1 else 1.0
                    wanted = muons if isinstance(optimizer, Muon) else share
                    assert group["rate_share"] == wanted, name
