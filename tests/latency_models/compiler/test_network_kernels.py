"""Network kernels: each runtime's kernels of a network, in order, by the nodes they compute."""

import numpy as np
import pytest

from latency_models.compiler.lower import lower
from latency_models.compiler.network_kernels import (
    KERNELS,
    CompiledKernel,
    default_tile,
    network_kernels,
)
from latency_models.devices.cpu import AVX2, AVX512, NEON
from latency_models.devices.device import RUNTIMES, Runtime
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.onnx.kernels import OnnxKernel
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.fusion import fuse
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d
from search_spaces.graphs.precision import get_precision
from tests.latency_models.compiler.test_lower import Sort
from tests.latency_models.parts.cases import network_graphs

NETWORKS = network_graphs()


def test_each_runtime_has_kernels() -> None:
    assert set(KERNELS) == set(RUNTIMES)


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_kernels_are_the_steps_of_the_lowered_network(name: str) -> None:
    graph = NETWORKS[name]
    model = random_model(graph, np.random.default_rng(0))
    steps = lower(model, AVX2, lambda kernel: kernel.default_tile(AVX2)).steps

    uses = network_kernels(graph, "tvm", AVX2)

    assert [(use.node, use.kernel) for use in uses] == [
        (step.node, CompiledKernel(step.kernel, step.numbers)) for step in steps
    ]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_kernels_of_a_network_name_its_nodes(runtime: Runtime) -> None:
    for graph in NETWORKS.values():
        names = {node.name for node in graph.nodes} | {INPUT}
        uses = network_kernels(graph, runtime, AVX512)
        assert {use.node for use in uses} <= names
        assert {kernel.node.name for kernel in fuse(graph) if weighted(kernel.operator)} <= {
            use.node for use in uses
        }


def weighted(operator: object) -> bool:
    return isinstance(operator, Conv2d)


def test_only_compiled_kernels_depend_on_the_vector_unit() -> None:
    graph = NETWORKS["mobilenet_v2"]
    assert network_kernels(graph, "onnxruntime", AVX512) == network_kernels(
        graph, "onnxruntime", NEON
    )
    kinds = {
        runtime: type(network_kernels(graph, runtime, AVX2)[0].kernel) for runtime in RUNTIMES
    }
    assert kinds == {"tvm": CompiledKernel, "onnxruntime": OnnxKernel}


def test_a_kernel_that_cannot_be_compiled_is_named() -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("sorted", Sort(), net.input)
    with pytest.raises(UnsupportedOperatorError, match=r"'Sort' \(sorted\)"):
        network_kernels(net.graph(), "tvm", AVX2)


def test_a_sum_that_could_leave_32_bits_is_named() -> None:
    net = GraphBuilder((70000, 1, 1))
    net.add("wide", Conv2d(4, precision=get_precision("w8a8")), net.input)
    with pytest.raises(UserError, match=r"wide: .* \(32 bits\)"):
        network_kernels(net.graph(), "tvm", AVX2)


def test_the_default_tile_is_the_kernels_own() -> None:
    for use in network_kernels(NETWORKS["vgg16"], "tvm", AVX2):
        assert isinstance(use.kernel, CompiledKernel)
        if isinstance(use.kernel.kernel, Conv2dKernel):
            kernel = use.kernel.kernel
            assert default_tile(kernel, AVX2) == kernel.default_tile(AVX2)
