"""Networks of joins, norms, sums and views, wired at random, give the numbers of the oracle."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from latency_models.compiler.joins import share_joins
from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import host_cpu
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import fold_batch_norm, random_model
from search_spaces.graphs.operators import (
    Add,
    BatchNorm,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    MaxPool,
    Norm,
    Operator,
)
from search_spaces.graphs.precision import FP32, PRECISIONS, Precision
from search_spaces.quantization.insertion import add_quantizers
from tests import integer_oracle

CODED = [PRECISIONS[name] for name in ("w8a8", "w4a4", "w2a2", "xnor")]
few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
KINDS = ("convolution", "norm", "norm", "join", "join", "sum", "view", "pool")
activations: st.SearchStrategy[Activation] = st.sampled_from(("none", "relu"))
norms: st.SearchStrategy[Norm] = st.sampled_from(("none", "batch"))
windows = st.sampled_from(((1, 1), (3, 3)))


@st.composite
def networks(draw: st.DrawFn, precision: Precision) -> Graph:
    """Up to nine nodes that read any before them; what nobody reads is joined at the end."""
    net = GraphBuilder((32, 5, 4))
    made = [net.add("stem", Conv2d(32, precision=precision), net.input)]

    def add(operator: Operator, *inputs: Node) -> None:
        made.append(net.add(f"node{len(made)}", operator, *inputs))

    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(KINDS))
        x = draw(st.sampled_from(made))
        if kind == "convolution":
            window, own = draw(windows), draw(norms)
            activation = draw(activations)
            add(Conv2d(32, window, norm=own, activation=activation, precision=precision), x)
        elif kind == "norm":
            add(BatchNorm(activation=draw(activations)), x)
        elif kind == "join":
            parts = [x, *draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))]
            add(Concat(draw(activations)), *parts)
        elif kind == "sum":
            same = [other for other in made if other.shape == x.shape]
            add(Add(draw(activations)), x, draw(st.sampled_from(same)))
        elif kind == "view":
            views: list[Operator] = [Dropout(0.1), ChannelSplit(0, x.shape[0] // 2)]
            add(draw(st.sampled_from([*views, ChannelShuffle(2)])), x)
        else:
            add(MaxPool((3, 3), (1, 1), (1, 1)), x)
    read = {name for node in net.nodes for name in node.inputs}
    unread = [node for node in made if node.name not in read]
    if len(unread) > 1:
        add(Concat(), *unread)
    return net.graph()


def agree(graph: Graph, limit: float) -> None:
    model = fold_batch_norm(random_model(graph, np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(size=graph.input_shape).astype(np.float32)
    wanted = integer_oracle.output(model, x[None])[0]

    given_map = compile_model(model, host_cpu()).run(x).reshape(wanted.shape)

    np.testing.assert_allclose(given_map, wanted, rtol=0, atol=limit * np.abs(wanted).max())


@pytest.mark.slow
@few
@given(networks(FP32))
def test_real_networks(graph: Graph) -> None:
    agree(graph, 1e-5)


@pytest.mark.slow
@few
@given(st.sampled_from(CODED).flatmap(networks))
def test_coded_networks(graph: Graph) -> None:
    try:
        agree(add_quantizers(graph), 0.0)
    except UnsupportedOperatorError:  # a map of signs joined twice, which is told
        assume(False)


@pytest.mark.parametrize("others", [1, 3])
def test_a_join_that_begins_like_an_earlier_one_reads_it(others: int) -> None:
    net = GraphBuilder((3, 4, 4))
    a, b = (net.add(name, Conv2d(4), net.input) for name in "ab")
    first = net.add("first", Concat(), a, b)
    rest = [net.add(f"more{index}", Conv2d(4), first) for index in range(others)]
    second = net.add("second", Concat(), a, b, *rest)
    net.add("third", Concat(), a, b, *rest, net.add("last", Conv2d(4), second))

    shared = share_joins(net.graph())

    assert shared.node("second").inputs == ("first", *(node.name for node in rest))
    assert shared.node("third").inputs == ("second", "last")
