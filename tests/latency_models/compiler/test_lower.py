"""Lowering: joining and splitting move nothing, borders are exactly as wide as needed."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from latency_models.compiler.lower import LoweredNetwork, lower
from latency_models.devices.cpu import AVX512
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.layout import BorderKernel, LayoutKernel
from latency_models.kernels.plain import PointwiseKernel
from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import (
    Add,
    BatchNorm,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    Linear,
    Weightless,
)
from search_spaces.graphs.precision import get_precision
from search_spaces.networks import NETWORKS


def lowered(graph: Graph) -> LoweredNetwork:
    model = random_model(graph, np.random.default_rng(0))
    return lower(model, AVX512, lambda kernel: kernel.default_tile(AVX512))


def kinds(network: LoweredNetwork) -> list[str]:
    return [type(step.kernel).__name__.removesuffix("Kernel") for step in network.steps]


def test_parts_of_a_concatenation_are_written_in_their_place() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("squeeze", Conv2d(16), net.input)
    left, right = net.add("left", Conv2d(10), x), net.add("right", Conv2d(20, (3, 3)), x)
    y = net.add("joined", Concat("relu6"), net.add("drop", Dropout(0.5), left), right)
    net.add("last", Conv2d(5), y)

    network = lowered(net.graph())

    assert "Pointwise" in kinds(network)  # these parts have an activation of their own

    net = GraphBuilder((3, 8, 8))
    x = net.add("squeeze", Conv2d(16), net.input)
    left, right = net.add("left", Conv2d(10), x), net.add("right", Conv2d(20, (3, 3)), x)
    net.add("last", Conv2d(5), net.add("joined", Concat(), left, right))

    network = lowered(net.graph())

    assert kinds(network) == ["Border", *["Conv2d"] * 4, "Layout"]
    targets = {step.node: step.arguments[-1].offset for step in network.steps}
    assert targets["right"] - targets["left"] == 4 * 10


def test_a_concatenations_activation_joins_parts_that_have_none() -> None:
    net = GraphBuilder((3, 8, 8))
    parts = [net.add(f"p{i}", Conv2d(4, activation="none"), net.input) for i in range(2)]
    net.add("joined", Concat("relu"), *parts)

    convolutions = [
        s.kernel for s in lowered(net.graph()).steps if isinstance(s.kernel, Conv2dKernel)
    ]

    assert [kernel.epilogue.activation for kernel in convolutions] == ["relu", "relu"]


def test_a_split_is_a_view_and_a_sum_joins_its_convolution() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("first", Conv2d(8), net.input)
    left, right = net.add("l", ChannelSplit(0, 4), x), net.add("r", ChannelSplit(4, 8), x)
    y = net.add("conv", Conv2d(4, activation="none"), left)
    net.add("sum", Add("relu"), y, right)

    network = lowered(net.graph())

    assert kinds(network) == ["Conv2d", "Conv2d", "Layout"]
    first, conv, _ = network.steps
    source, _, residual, _ = conv.arguments
    assert source == first.arguments[-1]
    assert residual.offset == source.offset + 4 * 4


def test_borders_are_as_wide_as_the_widest_padding_that_reads_them() -> None:
    net = GraphBuilder((6, 9, 9))
    x = net.add("first", Conv2d(8), net.input)
    a = net.add("a", Conv2d(8, (3, 3), groups=8), x)
    b = net.add("b", Conv2d(8, (5, 5), groups=8), x)
    net.add("sum", Add(), a, b)

    network = lowered(net.graph())

    halos = {
        s.node: s.kernel.source.halo
        for s in network.steps
        if isinstance(s.kernel, DepthwiseKernel)
    }
    assert halos == {"a": 2, "b": 2}
    assert sum(isinstance(step.kernel, BorderKernel) for step in network.steps) == 1


def test_an_input_without_padding_is_read_where_it_is() -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("logits", Linear(4), net.add("conv", Conv2d(4), net.input))

    network = lowered(net.graph())

    assert kinds(network) == ["Conv2d", "Conv2d"]
    assert network.steps[0].arguments[0].memory == "input"
    assert network.steps[1].arguments[-1].memory == "output"


@pytest.mark.parametrize("name", ["squeezenet_1_1", "ghostnet", "mobilenet_v2"])
def test_published_networks_copy_nothing(name: str) -> None:
    network = lowered(NETWORKS[name](resolution=64))

    for step in network.steps:
        if isinstance(step.kernel, PointwiseKernel):
            assert step.kernel.kind != "copy", step.node
        if isinstance(step.kernel, LayoutKernel):
            assert step.node == "input"


def test_dense_joins_copy_nothing_and_a_norm_behind_a_convolution_is_none() -> None:
    """As torch writes DenseNet: each layer reads a join of all maps so far."""
    net = GraphBuilder((3, 8, 8))
    maps = [net.add("stem", Conv2d(16), net.input)]
    for index in range(3):
        x = net.add(f"joined{index}", Concat(), *maps) if index else maps[0]
        x = net.add(f"narrow{index}", Conv2d(24, norm="none", activation="none"), x)
        x = net.add(f"norm{index}", BatchNorm(), x)
        maps.append(net.add(f"wide{index}", Conv2d(8, (3, 3)), x))
    net.add("last", BatchNorm(), net.add("joined", Concat(), *maps))

    network = lowered(net.graph())

    pointwise = [step.node for step in network.steps if isinstance(step.kernel, PointwiseKernel)]
    assert pointwise == ["last"]


@dataclass(frozen=True, slots=True)
class Sort(Weightless):
    def output_shape(self, *inputs: tuple[int, int, int]) -> tuple[int, int, int]:
        return inputs[0]


def test_what_has_no_kernel_is_named() -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("sorted", Sort(), net.input)
    with pytest.raises(
        UnsupportedOperatorError, match=r"no kernel for operator 'Sort' \(sorted\)"
    ):
        lowered(net.graph())


def test_a_sum_that_could_leave_32_bits_is_refused_with_its_bound() -> None:
    net = GraphBuilder((70000, 1, 1))
    net.add("wide", Conv2d(4, precision=get_precision("w8a8")), net.input)
    with pytest.raises(UserError, match=rf"wide: .* 2147483647 .* can reach {70000 * 127 * 255}"):
        lowered(net.graph())


def test_no_float_map_lies_between_integer_layers() -> None:
    for block in sorted(set(BLOCKS) - {"skip"}):
        net = GraphBuilder((16, 9, 9))
        w8a8 = get_precision("w8a8")
        x = net.add("stem", Conv2d(16, precision=w8a8), net.input)
        for name, stride in (("first", 2), ("second", 1)):
            with net.scope(name):
                x = BLOCKS[block]().add_to(net, x, Layer(32, stride, precision=w8a8))
        net.add("head", Conv2d(8, precision=w8a8), x)

        network = lowered(net.graph())

        for step in network.steps:
            end = getattr(step.kernel, "epilogue", None)
            if end is not None and step.node != "head":
                assert {view.form.kind for view in end.targets} == {"codes"}, (block, step.node)


def test_a_missing_bias_is_zero() -> None:
    net = GraphBuilder((3, 4, 4))
    net.add("conv", Conv2d(4, norm="none"), net.input)
    model = random_model(net.graph(), np.random.default_rng(0))
    with_bias = Model(
        Graph(
            model.graph.input_shape,
            tuple(biased(node) for node in model.graph.nodes),
        ),
        dict(model.arrays) | {"conv.bias": np.zeros(4, np.float32)},
    )

    def weights(model: Model) -> np.ndarray:
        return lower(model, AVX512, lambda kernel: kernel.default_tile(AVX512)).weights

    np.testing.assert_array_equal(weights(model), weights(with_bias))


def biased(node: Node) -> Node:
    assert isinstance(node.operator, Conv2d)
    return replace(node, operator=replace(node.operator, bias=True))
