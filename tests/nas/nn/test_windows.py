"""Windows of any geometry: oracle, torch, ONNX Runtime and our kernels give one result."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import host_cpu
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from nas.nn.interpreter import from_model
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import AvgPool, Conv2d, MaxPool, Operator, Shape, Size
from search_spaces.graphs.precision import FP32, PRECISIONS, Precision
from search_spaces.quantization.insertion import add_quantizers
from tests import integer_oracle, oracle

CODED = [precision for precision in PRECISIONS.values() if precision != FP32]
CHANNELS = (1, 3, 5, 8, 17, 32)
Maps = NDArray[np.float32]
few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def pairs(least: int, most: int) -> st.SearchStrategy[Size]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    return draw(st.sampled_from(CHANNELS)), *draw(pairs(1, 9))


@st.composite
def convolutions(draw: st.DrawFn, channels: int) -> Conv2d:
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    groups = draw(st.sampled_from(divisors))
    return Conv2d(
        groups * draw(st.integers(1, 40 // groups + 1)),
        draw(pairs(1, 5)),
        draw(pairs(1, 3)),
        draw(st.none() | pairs(0, 4)),
        draw(pairs(1, 2)),
        groups,
        draw(st.sampled_from(("none", "batch"))),
        draw(st.booleans()),
        draw(st.sampled_from(("none", "relu"))),
        end_padding=draw(st.none() | pairs(0, 4)),
    )


@st.composite
def pools(draw: st.DrawFn) -> MaxPool | AvgPool:
    window = (draw(pairs(1, 6)), draw(pairs(1, 4)), draw(pairs(0, 3)), draw(st.booleans()))
    end = draw(st.none() | pairs(0, 3))
    try:
        if draw(st.booleans()):
            return MaxPool(*window, end)
        return AvgPool(*window, draw(st.booleans()), end)
    except ValueError:
        assume(False)
        raise


def network(shape: Shape, *operators: Operator) -> Graph:
    """Operators one after another, on maps that they fit."""
    net = GraphBuilder(shape)
    x = net.input
    try:
        for index, operator in enumerate(operators):
            x = net.add(f"node{index}", operator, x)
    except ValueError:
        assume(False)
    return net.graph()


def images(graph: Graph) -> Maps:
    return np.random.default_rng(1).normal(size=(2, *graph.input_shape)).astype(np.float32)


def of_torch(model: Model, x: Maps) -> Maps:
    with torch.no_grad():
        given: Maps = from_model(model)(torch.from_numpy(x)).numpy()
    return given


def of_onnx_runtime(model: Model, x: Maps, *, exact: bool = False) -> Maps:
    content = onnx_model(model, exact=exact).SerializeToString()
    given: Maps = run_session(open_session(content), x)
    return given


def of_kernels(model: Model, x: Maps) -> Maps:
    compiled = compile_model(model, host_cpu())
    return np.stack([compiled.run(image) for image in x])


def agree(graph: Graph) -> None:
    model, x = random_model(graph, np.random.default_rng(0)), images(graph)
    wanted = oracle.run(model, x)[graph.output.name]
    limit = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    for run in (of_torch, of_onnx_runtime, of_kernels):
        given = run(model, x).reshape(wanted.shape)
        np.testing.assert_allclose(given, wanted, rtol=0, atol=limit, err_msg=run.__name__)


@few
@given(st.data(), shapes())
def test_convolutions(data: st.DataObject, shape: Shape) -> None:
    agree(network(shape, data.draw(convolutions(shape[0]))))


@pytest.mark.slow
@few
@given(pools(), shapes())
def test_pools(pool: MaxPool | AvgPool, shape: Shape) -> None:
    agree(network(shape, pool))


@pytest.mark.slow
@few
@given(pools(), shapes())
def test_pools_of_maps_that_others_make_and_read(pool: MaxPool | AvgPool, shape: Shape) -> None:
    agree(network(shape, Conv2d(9, activation="none"), pool, Conv2d(5, (3, 3))))


@pytest.mark.slow
@few
@given(st.data(), st.sampled_from(CODED), shapes(), pools())
def test_coded_convolutions_and_pools_between_them(
    data: st.DataObject, precision: Precision, shape: Shape, pool: MaxPool | AvgPool
) -> None:
    conv = data.draw(convolutions(shape[0]))
    try:
        low = replace(conv, precision=precision)
        # Means are rounded as each back end likes, and so would be codes of them.
        last = [Conv2d(6, (3, 3), precision=precision)] * isinstance(pool, MaxPool)
        graph = add_quantizers(network(shape, low, pool, *last))
    except (ValueError, UserError):
        assume(False)
    model = fold_batch_norm(random_model(graph, np.random.default_rng(0)))
    x = images(graph)
    wanted = integer_oracle.output(model, x)

    limit = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    for run in (of_torch, of_kernels):
        given = run(model, x).reshape(wanted.shape)
        np.testing.assert_allclose(given, wanted, rtol=0, atol=limit, err_msg=run.__name__)
    given = of_onnx_runtime(model, x, exact=True).reshape(wanted.shape)
    np.testing.assert_allclose(given, wanted, rtol=0, atol=limit)
