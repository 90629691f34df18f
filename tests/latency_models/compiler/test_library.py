"""Compiled models agree with ONNX Runtime, and their files run with nothing but TVM."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latency_models.compiler.library import (
    CompiledModel,
    compile_model,
    function_names,
    load_compiled,
)
from latency_models.compiler.lower import lower
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from tests.latency_models.parts.cases import block_graphs, network_graphs, operator_graphs
from tests.latency_models.parts.processors import skip_unless_it_runs

HOST = host_cpu()


def agree(graph: Graph, cpu: Cpu = HOST) -> None:
    rng = np.random.default_rng(0)
    model = random_model(graph, rng)
    x = rng.normal(size=graph.input_shape).astype(np.float32)
    expected = run_session(open_session(onnx_model(model).SerializeToString()), x[None])[0]

    result = compile_model(model, cpu).run(x)

    assert result.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", operator_graphs())
def test_every_operator_agrees_with_onnx_runtime(name: str) -> None:
    agree(operator_graphs()[name])


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", block_graphs())
def test_every_block_agrees_with_onnx_runtime(name: str) -> None:
    agree(block_graphs()[name])


@pytest.mark.sweep(5)
@pytest.mark.parametrize("name", network_graphs())
def test_every_published_network_agrees_with_onnx_runtime(name: str) -> None:
    agree(network_graphs()[name])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")
@pytest.mark.parametrize("mcpu", ["x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("name", ["concat", "split_and_shuffle", "scale", "perceptron"])
def test_older_cpus_compute_the_same(name: str, mcpu: str) -> None:
    skip_unless_it_runs(Cpu(mcpu))
    agree(operator_graphs()[name], Cpu(mcpu))


def small_model() -> Model:
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(8, (3, 3)), net.input)
    for index in range(3):
        x = net.add(f"conv{index}", Conv2d(8, (3, 3)), x)
    net.add("logits", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return random_model(net.graph(), np.random.default_rng(0))


@pytest.fixture(scope="module")
def small() -> CompiledModel:
    return compile_model(small_model(), HOST)


def test_a_file_runs_in_a_fresh_process_that_has_only_tvm(
    small: CompiledModel, tmp_path: Path
) -> None:
    small.save(tmp_path / "network.so")
    x = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    script = """
import sys
sys.modules["torch"] = None  # which TVM imports where it is installed, for seconds
import numpy as np, tvm
library = tvm.runtime.load_module(sys.argv[1] + "/network.so")
main = tvm.relax.VirtualMachine(library, tvm.cpu())["main"]
np.save(sys.argv[1] + "/y.npy", main(tvm.runtime.tensor(np.load(sys.argv[1] + "/x.npy"))).numpy())
assert not any(name.startswith(("latency_models", "search_spaces")) for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=tmp_path)

    np.testing.assert_array_equal(np.load(tmp_path / "y.npy")[0], small.run(x[0]))
    assert [path.name for path in tmp_path.glob("*.so")] == ["network.so"]


def test_a_loaded_file_is_the_same_model(small: CompiledModel, tmp_path: Path) -> None:
    small.save(tmp_path / "network.so")
    x = np.ones((1, 8, 8), np.float32)

    loaded = load_compiled(tmp_path / "network.so")

    assert loaded.metadata == small.metadata
    assert loaded.metadata.input_shape == (1, 8, 8)
    assert loaded.metadata.output_shape == (10, 1, 1)
    np.testing.assert_array_equal(loaded.run(x), small.run(x))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no compiled model"):
        load_compiled(tmp_path / "missing.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(UserError, match="no compiled model of hwnas"):
        load_compiled(tmp_path / "text.so")


def test_an_input_of_another_shape_is_refused(small: CompiledModel) -> None:
    with pytest.raises(UserError, match=r"shape \(1, 8, 8\), got \(3, 8, 8\)"):
        small.run(np.zeros((3, 8, 8), np.float32))


def test_a_file_that_cannot_be_written_is_an_error(small: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        small.save(tmp_path / "missing" / "network.so")


def test_equal_kernels_are_compiled_once() -> None:
    unit = HOST.vector_unit
    network = lower(small_model(), unit, lambda kernel: kernel.default_tile(unit))

    assert sum("conv2d" in name for name in function_names(network).values()) < 5
    assert sum(step.node.startswith("conv") for step in network.steps) >= 3
