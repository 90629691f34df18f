"""Measuring real networks: both runtimes give latencies, times per kernel, and files that run."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from time import monotonic

import numpy as np
import pytest

from latency_models.boards.timing import TimingPlan
from latency_models.devices.device import Device, Runtime
from latency_models.devices.latency import DeviceBusyError, MeasurementError
from latency_models.measurement.device_check import check_device, small_network
from latency_models.measurement.measurer import Measurer
from latency_models.onnx.model import onnx_model
from latency_models.onnx.parity import check_parity
from latency_models.onnx.session import open_session, run_session
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.fusion import fuse
from search_spaces.graphs.model import random_model
from tests.waiting import PATIENCE_S

QUICK = TimingPlan(warmup_runs=1, min_runs=5, min_ms=2.0, window_ms=(0.5, 1.0), max_drift=1000)
GRAPH = small_network()
MODEL = random_model(GRAPH, np.random.default_rng(0))
IMAGES = np.random.default_rng(1).normal(size=(3, *GRAPH.input_shape)).astype(np.float32)
SUFFIXES: dict[Runtime, str] = {"tvm": "so", "onnxruntime": "onnx"}


@pytest.fixture(scope="module", params=list(SUFFIXES))
def measurer(request: pytest.FixtureRequest) -> Iterator[Measurer]:
    device = Device("bench", "this machine", runtime=request.param)
    with Measurer(device, plan=QUICK) as measurer:
        yield measurer


def test_a_measured_latency_tells_its_conditions(measurer: Measurer) -> None:
    latency = measurer.latency(GRAPH)

    assert latency.source == "measured"
    assert latency.median_ms > 0
    conditions = latency.conditions
    assert conditions is not None
    assert (conditions.device, conditions.runtime) == ("bench", measurer.runtime)
    assert conditions.input_shape == (1, 3, 64, 64)
    assert conditions.precision == "fp32"
    assert conditions.runs >= 5
    assert conditions.drift >= 1
    assert conditions.runtime_version
    assert bool(conditions.target) == (measurer.runtime == "tvm")


def test_a_graph_is_measured_once(measurer: Measurer) -> None:
    assert measurer.latency(GRAPH) is measurer.latency(small_network())


def test_who_waits_for_a_quiet_machine_is_let_go_by_another_thread() -> None:
    never_quiet = replace(QUICK, max_drift=0.01, patience_s=PATIENCE_S)
    with Measurer(
        Device("bench", "this machine", runtime="onnxruntime"), plan=never_quiet
    ) as busy:
        busy.worker.start()
        hurrying = Timer(1.0, busy.hurry)
        hurrying.start()
        start = monotonic()

        with pytest.raises(DeviceBusyError, match="waiting 1 s did not help"):
            busy.latency(GRAPH)
        with pytest.raises(DeviceBusyError, match="waiting 1 s did not help"):
            busy.latency(GRAPH)

        assert monotonic() - start < PATIENCE_S / 2
        hurrying.join()


def test_each_file_computes_what_the_model_computes(measurer: Measurer, tmp_path: Path) -> None:
    reference = run_session(open_session(onnx_model(MODEL).SerializeToString()), IMAGES)
    path = tmp_path / f"network.{SUFFIXES[measurer.runtime]}"

    measurer.export(MODEL, path)

    outputs = {
        "compiled": measurer.logits(MODEL, IMAGES),
        "file": measurer.logits(path, IMAGES),
    }
    assert check_parity(reference, outputs).num_images == 3


def test_a_file_cannot_be_asked_for_more_than_it_holds(measurer: Measurer, tmp_path: Path) -> None:
    missing = tmp_path / f"missing.{SUFFIXES[measurer.runtime]}"

    with pytest.raises(ValueError, match="missing"):
        measurer.logits(missing, IMAGES)


def test_measuring_imports_no_runtime_into_the_process_that_asks() -> None:
    script = (
        "import sys, latency_models.measurement.measurer, latency_models.devices.device\n"
        "print({'tvm', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert result.stdout == b"set()\n"


def test_tvm_gives_every_kernel_a_time_and_onnx_runtime_says_that_it_cannot(
    measurer: Measurer,
) -> None:
    if measurer.runtime == "onnxruntime":
        with pytest.raises(UnsupportedOperatorError, match="no times per kernel"):
            measurer.kernel_latencies(GRAPH)
        return

    times = measurer.kernel_latencies(GRAPH)

    assert {kernel.node.name for kernel in fuse(GRAPH)} <= {time.name for time in times}
    assert all(time.median_ms > 0 for time in times)


def test_a_network_beyond_the_time_limit_costs_only_itself() -> None:
    device = Device("bench", "this machine", runtime="onnxruntime")
    with Measurer(device, plan=QUICK, time_limit_s=1e-6) as measurer:
        with pytest.raises(MeasurementError, match="took more than") as caught:
            measurer.latency(GRAPH)
        assert caught.value.kind == "timed out"
        measurer.time_limit_s = 60.0
        assert measurer.latency(GRAPH).median_ms > 0


def test_checking_the_host_finds_its_exact_cpu() -> None:
    report = check_device(Device("bench", "this machine"), QUICK)

    assert report.target not in ("", "generic", "native")
    assert report.instruction_sets
    assert report.difference <= 1e-4
    assert report.noise >= 0
