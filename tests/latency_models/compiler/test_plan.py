"""Planning: what is planned is what is compiled, and neither planning nor predicting needs TVM."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latency_models.compiler.lower import lower
from latency_models.compiler.plan import plan_kernels
from latency_models.devices.cpu import AVX2, AVX512, GENERIC, NEON, VectorUnit
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.precision import PRECISIONS
from tests.latency_models.parts.cases import block_graphs, network_graphs, operator_graphs
from tests.nas.parts.profiles import make_profile

ROOT = Path(__file__).parents[3]
UNITS = (AVX512, AVX2, NEON, GENERIC)
NETWORKS = network_graphs()
HEAVY = {"tvm", "torch", "onnxruntime", "onnx", "sklearn", "scipy", "pandas", "pyarrow"}


def planned(graph: Graph, unit: VectorUnit) -> list[tuple[object, str, tuple[int, ...]]]:
    plan = plan_kernels(graph, unit)
    return [(each.kernel, each.node, each.numbers) for each in plan.kernels]


def lowered(model: Model, unit: VectorUnit) -> list[tuple[object, str, tuple[int, ...]]]:
    network = lower(model, unit, lambda kernel: kernel.default_tile(unit))
    return [(step.kernel, step.node, step.numbers) for step in network.steps]


def check(graph: Graph, unit: VectorUnit) -> None:
    model = random_model(graph, np.random.default_rng(0))
    wanted = lowered(model, unit)
    assert planned(graph, unit) == wanted
    assert planned(fold_batch_norm(model).graph, unit) == wanted


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_block_is_planned_as_it_is_lowered(precision: str) -> None:
    graphs = block_graphs(precision=PRECISIONS[precision])
    assert graphs
    for index, graph in enumerate(graphs.values()):
        check(graph, UNITS[index % len(UNITS)])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_network_is_planned_as_it_is_lowered(name: str) -> None:
    check(NETWORKS[name], AVX512)


def test_every_operator_is_planned_as_it_is_lowered() -> None:
    for graph in operator_graphs().values():
        check(graph, AVX2)


def test_a_plan_is_the_same_each_time() -> None:
    graph = NETWORKS["mobilenet_v2"]
    assert planned(graph, AVX512) == planned(graph, AVX512)


def test_every_map_of_a_kernel_has_an_argument_for_it() -> None:
    for graph in NETWORKS.values():
        for each in plan_kernels(graph, AVX512).kernels:
            assert set(each.maps) <= set(each.kernel.arguments), each.node


@pytest.mark.parametrize(
    "module",
    [
        "latency_models.compiler.plan",
        "latency_models.compiler.network_kernels",
        "latency_models.compiler.kernel_text",
        "latency_models.prediction.onnx_features",
        "latency_models.prediction.fitting",
        "latency_models.profiling.profile",
        "latency_models.prediction.model",
    ],
)
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    assert heavy_of(f"import {module}") == []


def test_predicting_imports_nothing_heavy(tmp_path: Path) -> None:
    make_profile(tmp_path, "formula", 1.0)
    script = (
        "from pathlib import Path\n"
        "from latency_models.prediction.model import LatencyModel\n"
        "from tests.nas.parts.profiles import mobile\n"
        f"model = LatencyModel.load('formula', Path({str(tmp_path)!r}))\n"
        "assert model.explain(mobile(0.6)).latency.median_ms > 0\n"
        "assert model.latency(mobile(0.9)).median_ms > 0\n"
        "model.refitted([(mobile(0.6), model.latency(mobile(0.9)))])\n"
    )
    assert heavy_of(script) == []


def heavy_of(script: str) -> list[str]:
    """The heavy libraries that a new process has imported once it ran ``script``."""
    end = f"\nimport json, sys; print(json.dumps(sorted({HEAVY!r} & sys.modules.keys())))"
    command = [sys.executable, "-c", script + end]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))
