"""Whole networks of coded layers give exactly the numbers of the integer oracle."""

import platform
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import Cpu, host_cpu
from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import PRECISIONS, W8A8, Precision
from tests.integer_oracle import run as oracle
from tests.latency_models.parts.processors import skip_unless_it_runs

CODED = [p for p in PRECISIONS.values() if p.activations != "real"]
WITH_WEIGHTS = sorted(set(BLOCKS) - {"skip"})
Array = NDArray[np.float32]
# A precision and a block for each layer of a network; every second layer strides.
MIXED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "residual": (
        ("w4a8", "residual_basic"),
        ("xnor_k", "residual_basic"),
        ("w2a2", "residual_basic"),
        ("w1a2", "plain"),
    ),
    "mobile": (
        ("w8a8", "inverted_residual"),
        ("w4a4", "inverted_residual"),
        ("xnor", "fire"),
        ("w2a2", "shuffle_v2"),
    ),
}


def network(block: str, precision: Precision, ends: Precision = W8A8) -> Graph:
    """Two blocks, the first of which strides, between a stem and a classifier."""
    net = GraphBuilder((3, 11, 11))
    x = net.add("stem", Conv2d(32, (3, 3), precision=ends), net.input)
    for index, stride in enumerate((2, 1)):
        with net.scope(f"layer{index}"):
            layer = Layer(64, stride, precision=precision)
            x = BLOCKS[block]().add_to(net, x, layer)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(10, precision=ends), x)
    return net.graph()


def mixed_network(name: str) -> Graph:
    """A layer of each of several precisions, on channels that fill no word."""
    net = GraphBuilder((3, 9, 9))
    x = net.add("stem", Conv2d(24, (3, 3), precision=W8A8), net.input)
    for index, (precision, block) in enumerate(MIXED[name]):
        with net.scope(f"layer{index}"):
            layer = Layer(40, 1 + index % 2, precision=PRECISIONS[precision])
            x = BLOCKS[block]().add_to(net, x, layer)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(10, precision=PRECISIONS["w4a8"]), x)
    return net.graph()


def mixed_model(name: str) -> tuple[Model, Array]:
    """A mixed network with random weights, and an input."""
    rng = np.random.default_rng(1)
    model = random_model(mixed_network(name), rng)
    return model, rng.normal(size=model.graph.input_shape).astype(np.float32)


def outputs(model: Model, x: Array, cpu: Cpu) -> tuple[Array, Array]:
    """What the compiled network gives, and what the oracle does."""
    return compile_model(model, cpu).run(x), expected(model, x)


def expected(model: Model, x: Array) -> Array:
    wanted = oracle(fold_batch_norm(model), x[None])[model.graph.output.name]
    return np.asarray(wanted, np.float32)[0].squeeze((1, 2))


@pytest.mark.sweep(10)
@pytest.mark.parametrize("precision", CODED, ids=str)
@pytest.mark.parametrize("block", WITH_WEIGHTS)
def test_a_block_at_a_precision_gives_the_numbers_of_the_oracle(
    block: str, precision: Precision
) -> None:
    rng = np.random.default_rng(len(block))
    model = random_model(network(block, precision), rng)
    x = rng.normal(size=model.graph.input_shape).astype(np.float32)

    result, wanted = outputs(model, x, host_cpu())

    assert result.std() > 0
    np.testing.assert_array_equal(result, wanted)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
@pytest.mark.parametrize(
    ("name", "mcpu"),
    [
        ("residual", "x86-64"),
        ("mobile", "x86-64"),
        ("mobile", "x86-64-v3"),
        ("residual", "skylake-avx512"),
    ],
)
def test_a_mixed_network_gives_the_same_numbers_on_older_processors(name: str, mcpu: str) -> None:
    cpu = Cpu(mcpu)
    skip_unless_it_runs(cpu)

    result, wanted = outputs(*mixed_model(name), cpu)

    assert result.std() > 0
    np.testing.assert_array_equal(result, wanted)
