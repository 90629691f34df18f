"""Every operator reads maps of codes and of bits as the numbers that they stand for."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import host_cpu
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Node
from search_spaces.graphs.model import fold_batch_norm, random_model
from search_spaces.graphs.operators import (
    Activate,
    Add,
    AvgPool,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    GlobalAvgPool,
    Linear,
    Magnitude,
    MaxPool,
    Quantize,
    Scale,
)
from tests.integer_oracle import output

CHANNELS = 37  # of a word and a bit
# Adds what reads the coded map ``q`` of the real map ``x``.
Reader = Callable[[GraphBuilder, Node, Node], Node]
READERS: Mapping[str, Reader] = {
    "nobody": lambda net, x, q: q,
    "activation": lambda net, x, q: net.add("a", Activate("hardswish"), q),
    "sum": lambda net, x, q: net.add("a", Add("relu"), x, q),
    "sum_with_itself": lambda net, x, q: net.add("a", Add(), q, q),
    "residual": lambda net, x, q: net.add(
        "a", Add("relu"), net.add("c", Conv2d(CHANNELS, activation="none"), x), q
    ),
    "convolution": lambda net, x, q: net.add("a", Conv2d(5, (3, 3)), q),
    "linear": lambda net, x, q: net.add("a", Linear(5), q),
    "magnitude": lambda net, x, q: net.add("a", Magnitude(), q),
    "max_pool": lambda net, x, q: net.add("a", MaxPool((3, 3), (2, 2), (1, 1)), q),
    "padded_avg_pool": lambda net, x, q: net.add("a", AvgPool((3, 3), (1, 1), (1, 1)), q),
    "global_avg_pool": lambda net, x, q: net.add("a", GlobalAvgPool(), q),
    "split": lambda net, x, q: net.add("a", ChannelSplit(3, 20), q),
    "split_at_a_word": lambda net, x, q: net.add(
        "a", Conv2d(4), net.add("s", ChannelSplit(32, CHANNELS), q)
    ),
    "shuffle": lambda net, x, q: net.add("a", ChannelShuffle(CHANNELS), q),
    "concatenation": lambda net, x, q: net.add("a", Concat("relu"), q, x),
    "scaled": lambda net, x, q: net.add("a", Scale(), q, net.add("g", GlobalAvgPool(), x)),
    "gate": lambda net, x, q: net.add("a", Scale(), x, net.add("g", GlobalAvgPool(), q)),
    "codes": lambda net, x, q: net.add("a", Activate("relu"), net.add("q2", Quantize(8), q)),
    "signs": lambda net, x, q: net.add("a", Activate("relu"), net.add("q2", Quantize(1), q)),
}


@pytest.mark.sweep(4)
@pytest.mark.parametrize("quantize", [Quantize(1, norm="batch"), Quantize(2, signed=True)])
@pytest.mark.parametrize("reader", READERS)
def test_an_operator_reads_a_packed_map(reader: str, quantize: Quantize) -> None:
    net = GraphBuilder((5, 6, 6))
    x = net.add("before", Conv2d(CHANNELS, activation="none"), net.input)
    READERS[reader](net, x, net.add("q", quantize, x))
    rng = np.random.default_rng(0)
    model = random_model(net.graph(), rng)
    given = rng.normal(size=model.graph.input_shape).astype(np.float32)

    result = compile_model(model, host_cpu()).run(given)

    wanted = output(fold_batch_norm(model), given[None])[0].reshape(result.shape)
    np.testing.assert_allclose(result, wanted, rtol=0, atol=2e-5)  # real sums, in any order
    assert np.abs(result).max() > 0
