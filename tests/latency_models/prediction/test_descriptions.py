"""Descriptions: every kernel of everything registered is finite numbers that count its work."""

from collections.abc import Iterator
from functools import cache
from math import prod

import numpy as np
import pytest

from latency_models.compiler.network_kernels import network_kernels
from latency_models.compiler.windows import inner_window
from latency_models.devices.cpu import AVX2, AVX512, GENERIC, NEON, VectorUnit
from latency_models.devices.device import RUNTIMES, Runtime
from latency_models.prediction.features import FEATURES, TERMS, Description
from latency_models.prediction.kernel_rows import RANGED, rows_of
from latency_models.prediction.onnx_features import describe
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.cost import Cost, kernel_costs
from search_spaces.graphs.fusion import FusedKernel
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Linear, MaxPool
from search_spaces.graphs.precision import PRECISIONS, get_precision
from tests.latency_models.parts.cases import (
    block_graphs,
    network_graphs,
    operator_graphs,
    precision_graphs,
)

UNITS = (AVX512, AVX2, GENERIC, NEON)
unit_names = [unit.name for unit in UNITS]


@cache
def graphs() -> dict[str, Graph]:
    """Every operator, published network, and block at each precision."""
    blocks = {
        f"{precision}-{name}": graph
        for precision in PRECISIONS
        for name, graph in block_graphs(precision=PRECISIONS[precision]).items()
    }
    return operator_graphs() | precision_graphs() | network_graphs() | blocks


def described(
    runtime: Runtime, unit: VectorUnit
) -> Iterator[tuple[str, Graph, list[Description]]]:
    for name, graph in graphs().items():
        yield (
            name,
            graph,
            [describe(use.kernel, unit) for use in network_kernels(graph, runtime, unit)],
        )


def test_names_are_distinct() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert len(set(TERMS)) == len(TERMS)
    assert set(RANGED) <= set(FEATURES)


@pytest.mark.sweep(4)
@pytest.mark.parametrize("unit", UNITS, ids=unit_names)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_kernel_is_finite_numbers_and_its_work_adds_up(
    runtime: Runtime, unit: VectorUnit
) -> None:
    families: dict[str, set[tuple[str, str]]] = {}
    for name, graph, kernels in described(runtime, unit):
        for each in kernels:
            at = (name, each.kind)
            assert (len(each.features), len(each.terms)) == (len(FEATURES), len(TERMS)), at
            assert np.all(np.isfinite(each.features)), at
            assert np.all(np.isfinite(each.terms)), at
            assert min(each.terms) >= 0, at
            assert each.terms[TERMS.index("calls")] == 1, at
            assert max(each.terms[1:]) > 0, at
            assert each.moved_bytes > 0, at
            assert bool(each.macs) == bool(each.precision), at
            assert np.all(np.array(each.features)[[FEATURES.index(n) for n in RANGED]] >= 0), at
            families.setdefault(each.kind, set()).add((each.family, each.precision))
        macs = sum(each.macs for each in kernels)
        assert macs == sum(done_macs(graph, *row, runtime) for row in kernel_costs(graph)), name
    assert {kind: found for kind, found in families.items() if len(found) > 1} == {}


def done_macs(graph: Graph, kernel: FusedKernel, cost: Cost, runtime: Runtime) -> float:
    """The multiply-adds of a kernel, of ours without those that only meet padding."""
    node, operator = kernel.node, kernel.node.operator
    if runtime != "tvm" and isinstance(operator, Linear) and operator.sparsity:
        (inputs,) = (prod(graph.shapes[name]) for name in node.inputs)
        return node.shape[0] * inputs  # elsewhere it is a dense layer with zeros
    if runtime != "tvm" or not isinstance(operator, Conv2d):
        return cost.macs
    if operator.precision.activations != "real" and operator.precision.activation_bits <= 2:
        return cost.macs  # packed maps, whose padding may be signs
    (_, *size), (_, *count) = graph.shapes[node.inputs[0]], node.shape
    inner, _ = inner_window(operator, (size[0], size[1]), (count[0], count[1]))
    return cost.macs * prod(inner.kernel_size) / prod(operator.kernel_size)


def test_describing_is_pure() -> None:
    (use, *_) = network_kernels(graphs()["mobilenet_v2"], "tvm", AVX2)
    assert describe(use.kernel, AVX2) == describe(use.kernel, AVX2)


def one(operator: Conv2d | Linear | MaxPool, runtime: Runtime = "tvm") -> Description:
    """The kernel of an operator on a map of 16 channels and 8x8 pixels."""
    net = GraphBuilder((16, 8, 8))
    net.add("node", operator, net.input)
    (found,) = (
        each
        for each in (
            describe(use.kernel, AVX2) for use in network_kernels(net.graph(), runtime, AVX2)
        )
        if not each.kind.startswith(("border", "layout", "copy"))
    )
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_kinds_say_what_a_kernel_is(runtime: Runtime) -> None:
    kinds = {
        "conv2d 3x3": one(Conv2d(8, (3, 3)), runtime).kind,
        "conv2d 1x1": one(Conv2d(8), runtime).kind,
        "depthwise 5x5": one(Conv2d(16, (5, 5), groups=16), runtime).kind,
        "linear": one(Linear(4), runtime).kind,
    }
    assert kinds == {name: f"{name} fp32" for name in kinds}
    assert "max" in one(MaxPool((2, 2), (2, 2)), runtime).kind


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_twice_the_channels_are_twice_the_work(runtime: Runtime) -> None:
    narrow, wide = (one(Conv2d(width, (3, 3)), runtime) for width in (32, 64))
    assert wide.macs == 2 * narrow.macs == 2 * 32 * 16 * 9 * 64
    assert wide.terms[TERMS.index("cycles")] == pytest.approx(
        2 * narrow.terms[TERMS.index("cycles")], rel=0.1
    )
    assert wide.kind == narrow.kind


def test_bytes_are_counted_by_hand() -> None:
    # 16 channels of 8x8 numbers read, 8 written, 16 * 8 * 9 weights of 4 bytes
    found = one(Conv2d(8, (3, 3), norm="none"))
    assert found.terms[TERMS.index("read_bytes")] == 4 * 16 * 64
    assert found.terms[TERMS.index("weight_bytes")] == 4 * 16 * 8 * 9
    assert found.moved_bytes == pytest.approx(4 * (16 * 64 + 8 * 64 + 16 * 8 * 9))


@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "xnor_k"])
def test_the_precision_of_a_layer_is_that_of_its_kernel(name: str) -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("before", Conv2d(32), net.input)
    net.add("low", Conv2d(32, (3, 3), precision=get_precision(name)), x)
    (found,) = (
        describe(use.kernel, AVX2).precision
        for use in network_kernels(net.graph(), "tvm", AVX2)
        if use.node == "low" and describe(use.kernel, AVX2).macs
    )
    assert found == name


@pytest.mark.parametrize("unit", UNITS, ids=unit_names)
def test_kernels_that_are_not_equal_are_told_apart_by_numbers(unit: VectorUnit) -> None:
    """All but a few: what the numbers cannot tell, no model can learn."""
    kernels = {
        use.kernel for graph in graphs().values() for use in network_kernels(graph, "tvm", unit)
    }
    rows = {
        (each.kind, each.terms, each.features)
        for each in (describe(kernel, unit) for kernel in kernels)
    }
    assert len(rows) > 0.9 * len(kernels)


def test_a_table_has_a_row_for_each_kernel() -> None:
    uses = network_kernels(graphs()["squeezenet_1_1"], "tvm", AVX2)
    rows = [describe(use.kernel, AVX2) for use in uses]
    table = rows_of(rows)

    assert len(table) == len(rows)
    assert table.features.shape == (len(rows), len(FEATURES))
    assert table.sizes.shape == (len(rows), len(RANGED))
    some = table.rows(np.array([2, 0]))
    assert list(some.kinds) == [rows[2].kind, rows[0].kind]
    assert len(rows_of([])) == 0
    assert rows_of([]).sizes.shape == (0, len(RANGED))
