"""Activations: every back end has each one of the table, and computes what it means."""

from typing import cast

import numpy as np
import pytest
import torch

from latency_models.codegen.activations import EMITTED_ACTIVATIONS, activated
from latency_models.codegen.emitter import Vectors
from latency_models.devices.cpu import GENERIC, host_cpu
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.plain import PointwiseKernel
from latency_models.kernels.view import View
from latency_models.onnx.activations import ONNX_ACTIVATIONS, activate
from latency_models.onnx.graph import OnnxGraph
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from nas.nn.activations import TORCH_ACTIVATIONS, Layer
from search_spaces.graphs.activations import ACTIVATIONS, Activation
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Activate
from tests.latency_models.kernels.kernel_runs import run_kernel

F = np.float32
SHAPE = (5, 8, 9)
X = np.random.default_rng(0).normal(0, 4, SHAPE).astype(F)
BACK_ENDS = {"torch": TORCH_ACTIVATIONS, "onnx": ONNX_ACTIVATIONS, "tvm": EMITTED_ACTIVATIONS}

of_each_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_every_back_end_has_each_activation_and_no_other(back_end: str) -> None:
    assert list(BACK_ENDS[back_end]) == list(ACTIVATIONS)


@of_each_activation
def test_a_kernel_computes_exactly_what_it_means(name: Activation) -> None:
    view = View(*SHAPE)
    kernel = PointwiseKernel((view,), Epilogue((view,), name))

    (y,) = run_kernel(kernel, host_cpu(), {"source0": (view, X), "target0": (view, None)}, {})

    np.testing.assert_array_equal(y, ACTIVATIONS[name].compute(X))


@of_each_activation
def test_a_deployed_layer_computes_exactly_what_it_means(name: Activation) -> None:
    y = TORCH_ACTIVATIONS[name].as_kernel(torch.from_numpy(X.copy()))

    np.testing.assert_array_equal(y.numpy(), ACTIVATIONS[name].compute(X))


@of_each_activation
def test_a_deployed_layer_does_so_for_numbers_of_any_size(name: Activation) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 20_000, np.uint32)
    x = bits[np.isfinite(bits.view(F))].view(F)

    y = TORCH_ACTIVATIONS[name].as_kernel(torch.from_numpy(x.copy()))

    np.testing.assert_array_equal(y.numpy(), ACTIVATIONS[name].compute(x))


@of_each_activation
def test_training_in_place_has_the_gradient_of_training(name: Activation) -> None:
    def gradient(layer: Layer) -> torch.Tensor:
        x = torch.from_numpy(X.copy()).requires_grad_()
        (found,) = torch.autograd.grad((layer(x * 1) ** 2).sum(), x)
        return found

    row = TORCH_ACTIVATIONS[name]

    torch.testing.assert_close(gradient(row.of_owned), gradient(row.of))


@of_each_activation
def test_training_computes_what_it_means(name: Activation) -> None:
    row, wanted = TORCH_ACTIVATIONS[name], ACTIVATIONS[name].compute(X)

    for layer in (row.of, row.of_owned):
        np.testing.assert_allclose(layer(torch.from_numpy(X.copy())).numpy(), wanted, 1e-5, 1e-6)


@of_each_activation
def test_training_leaves_a_map_that_others_read_as_it_is(name: Activation) -> None:
    x = torch.from_numpy(X.copy())

    TORCH_ACTIVATIONS[name].of(x)

    np.testing.assert_array_equal(x.numpy(), X)


@of_each_activation
def test_an_onnx_file_computes_what_it_means(name: Activation) -> None:
    graph = Graph(SHAPE, (Node("act", Activate(name), (INPUT,), SHAPE),))
    session = open_session(onnx_model(Model(graph, {})).SerializeToString())

    (y,) = run_session(session, X[None])

    np.testing.assert_allclose(y, ACTIVATIONS[name].compute(X), 1e-5, 1e-6)


def test_a_back_end_that_lacks_an_activation_says_which() -> None:
    graph = Graph(SHAPE, (Node("act", Activate("relu"), (INPUT,), SHAPE),))
    other = cast("Activation", "swish")

    with pytest.raises(UnsupportedOperatorError, match="ONNX export has no activation 'swish'"):
        activate(OnnxGraph(Model(graph, {})), "x", "act", other)
    with pytest.raises(UnsupportedOperatorError, match="TVM has no code for activation 'swish'"):
        activated(Vectors(GENERIC), other, None)
    with pytest.raises(KeyError, match="swish"):
        TORCH_ACTIVATIONS[other]
