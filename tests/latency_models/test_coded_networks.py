"""Whole networks of coded layers give exactly the numbers of the integer oracle."""

import numpy as np
import pytest
from tests.integer_oracle import run as oracle
from numpy.typing import NDArray

from latency_models.compiled import compile_model
from latency_models.kernels.cpu import Cpu, host_cpu
from search_spaces.blocks import BLOCKS
from search_spaces.builder import GraphBuilder
from search_spaces.graph import Graph
from search_spaces.layer import Layer
from search_spaces.model import Model, fold_batch_norm, random_model
from search_spaces.operators import Conv2d, GlobalAvgPool, Linear, MaxPool
from search_spaces.precision import FP32, PRECISIONS, W8A8, Precision

CODED = [p for p in PRECISIONS.values() if p.activations != "real"]
WITH_WEIGHTS = sorted(set(BLOCKS) - {"skip"})
Array = NDArray[np.float32]


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


def outputs(model: Model, x: Array, cpu: Cpu) -> tuple[Array, Array]:
    """What the compiled network gives, and what the oracle does."""
    wanted = oracle(fold_batch_norm(model), x[None])[model.graph.output.name]
    return compile_model(model, cpu).run(x), np.asarray(wanted, np.float32)[0].squeeze((1, 2))


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
