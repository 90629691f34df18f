"""ONNX kernels: each cut of a network is a small network that runs, and nothing is cut away."""

from collections import Counter

import numpy as np
import pytest

from latency_models.devices.cpu import AVX512
from latency_models.onnx.kernels import OnnxKernel, onnx_kernels
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from latency_models.prediction.onnx_features import describe
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import INPUT, Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import (
    Add,
    AvgPool,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    Magnitude,
    Quantize,
    Scale,
)
from search_spaces.graphs.precision import PRECISIONS, get_precision
from tests.latency_models.parts.cases import (
    block_graphs,
    network_graphs,
    operator_graphs,
    precision_graphs,
)

NETWORKS = network_graphs()
BLOCKS_OF = {name: block_graphs(precision=precision) for name, precision in PRECISIONS.items()}


def cuts(graph: Graph) -> dict[str, list[OnnxKernel]]:
    """The cuts of a graph by the node that they compute."""
    found: dict[str, list[OnnxKernel]] = {}
    for name, kernel in onnx_kernels(graph):
        found.setdefault(name, []).append(kernel)
    return found


def run(kernel: OnnxKernel) -> np.ndarray:
    """What ONNX Runtime gives for one cut."""
    model = random_model(kernel.graph, np.random.default_rng(0))
    images = np.random.default_rng(1).normal(size=(1, *kernel.graph.input_shape))
    session = open_session(onnx_model(model).SerializeToString())
    return run_session(session, images.astype(np.float32))


def check_runs(graphs: list[Graph], most: int) -> None:
    """Runs distinct cuts, at most so many, at least one of each kind."""
    distinct = list(dict.fromkeys(kernel for graph in graphs for _, kernel in onnx_kernels(graph)))
    kinds: Counter[str] = Counter()
    for kernel in distinct:
        kind = describe(kernel, AVX512).kind
        kinds[kind] += 1
        if kinds[kind] <= most:
            result = run(kernel)
            assert result.size == np.prod(kernel.graph.output.shape), kind
            assert np.all(np.isfinite(result)), kind


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_cut_of_every_block_runs(precision: str) -> None:
    check_runs(list(BLOCKS_OF[precision].values()), most=1)


def test_every_cut_of_every_operator_runs() -> None:
    check_runs(list(operator_graphs().values()), most=1)


def test_every_cut_of_published_networks_and_precisions_runs() -> None:
    check_runs([*NETWORKS.values(), *precision_graphs().values()], most=2)


EVERY = NETWORKS | {
    f"{name}-{block}": graph
    for name, graphs in BLOCKS_OF.items()
    for block, graph in graphs.items()
}


def test_the_cuts_multiply_as_often_as_the_network() -> None:
    for name, graph in EVERY.items():
        macs = sum(describe(kernel, AVX512).macs for _, kernel in onnx_kernels(graph))
        assert macs == network_cost(graph).macs, name


def test_every_node_that_computes_is_in_a_cut() -> None:
    for name, graph in EVERY.items():
        wanted = Counter(
            type(node.operator)
            for node in graph.nodes
            if not isinstance(node.operator, Dropout | Quantize)
        )
        found = Counter(type(kernel.operator) for _, kernel in onnx_kernels(graph))
        del found[Quantize]
        assert found == wanted, name


def test_every_quantizer_is_in_some_cut() -> None:
    for name, graph in EVERY.items():
        wanted = {type(node.operator) for node in graph.nodes} & {Quantize}
        nodes = [node for _, kernel in onnx_kernels(graph) for node in kernel.graph.nodes]
        assert {type(node.operator) for node in nodes} >= wanted, name


def test_shapes_of_a_cut_are_those_in_the_network() -> None:
    for name, graph in EVERY.items():
        for node_name, kernel in onnx_kernels(graph):
            node = graph.node(node_name)
            assert kernel.graph.node("kernel").shape == node.shape, (name, node_name)
            given = kernel.graph.input_shapes(kernel.graph.node("kernel"))
            assert given == graph.input_shapes(node), (name, node_name)


def test_a_sum_is_a_cut_of_its_own_beside_its_convolution() -> None:
    net = GraphBuilder((4, 6, 6))
    x = net.add("first", Conv2d(8), net.input)
    y = net.add("second", Conv2d(8, (3, 3), activation="none"), x)
    net.add("sum", Add("relu"), y, x)

    found = cuts(net.graph())

    assert list(found) == ["first", "second", "sum"]
    (convolution,), (total,) = found["second"], found["sum"]
    assert isinstance(convolution.operator, Conv2d)
    assert convolution.operator.activation == "relu"
    assert total.operator == Add("relu")
    assert total.graph.node("kernel").inputs == (INPUT, INPUT)


def test_parts_of_a_concatenation_have_their_widths() -> None:
    net = GraphBuilder((4, 6, 6))
    parts = [net.add(f"part{size}", Conv2d(size), net.input) for size in (3, 7, 5)]
    net.add("joined", Concat("relu6"), *parts)

    (kernel,) = cuts(net.graph())["joined"]

    assert kernel.graph.input_shape == (7, 6, 6)
    assert kernel.graph.input_shapes(kernel.graph.node("kernel")) == (
        (3, 6, 6),
        (7, 6, 6),
        (5, 6, 6),
    )


def test_a_split_is_a_cut_and_dropout_is_none() -> None:
    net = GraphBuilder((8, 6, 6))
    left = net.add("left", ChannelSplit(0, 3), net.input)
    net.add("last", Conv2d(4), net.add("drop", Dropout(0.3), left))

    found = cuts(net.graph())

    assert list(found) == ["left", "last"]
    assert found["left"][0].operator == ChannelSplit(0, 3)


def test_a_scale_has_a_factor_of_one_pixel() -> None:
    net = GraphBuilder((4, 6, 6))
    gate = Conv2d(4, norm="none", bias=True, activation="hardsigmoid")
    squeezed = net.add("squeeze", GlobalAvgPool(), net.input)
    net.add("scaled", Scale(), net.input, net.add("gate", gate, squeezed))

    (kernel,) = cuts(net.graph())["scaled"]

    assert kernel.graph.input_shapes(kernel.graph.node("kernel")) == ((4, 6, 6), (4, 1, 1))


@pytest.mark.parametrize(("size", "mean"), [(1, False), (3, True)])
def test_a_magnitude_map_is_made_of_the_input(size: int, mean: bool) -> None:
    net = GraphBuilder((3, 6, 6))
    x = net.add("before", Conv2d(32), net.input)
    net.add("low", Conv2d(8, (size, size), precision=get_precision("xnor_k")), x)
    graph = net.graph()

    (kernel,) = cuts(graph)["low"]

    operators = [type(node.operator) for node in kernel.graph.nodes]
    assert Magnitude in operators
    assert (AvgPool in operators) == mean
    assert Magnitude in {type(k.operator) for group in cuts(graph).values() for k in group}


def test_codes_are_made_before_and_after_a_coded_layer() -> None:
    net = GraphBuilder((3, 6, 6))
    w8a8 = get_precision("w8a8")
    x = net.add("first", Conv2d(8, precision=w8a8), net.input)
    x = net.add("second", Conv2d(8, precision=w8a8), x)
    net.add("logits", Linear(4), x)

    found = cuts(net.graph())

    second = next(k for k in found["second"] if isinstance(k.operator, Conv2d))
    assert [node.name for node in second.graph.nodes] == ["before", "kernel"]
    first = next(k for k in found["first"] if isinstance(k.operator, Conv2d))
    assert [node.name for node in first.graph.nodes] == ["before", "kernel", "after0"]


def test_equal_layers_of_a_network_are_one_kernel() -> None:
    net = GraphBuilder((8, 6, 6))
    x = net.input
    for index in range(3):
        x = net.add(f"layer{index}", Conv2d(8), x)

    kernels = [kernel for _, kernel in onnx_kernels(net.graph())]

    assert len(kernels) == 3
    assert len(set(kernels)) == 1
