"""Times of a network's kernels, kept in the run."""

from pathlib import Path

import pytest

from latency_models.devices.capabilities import capabilities
from latency_models.devices.device import cpu_of, get_device
from latency_models.measurement.layer_table import layer_rows
from latency_models.measurement.measurer import Measurer
from nas.report.page import write_report
from nas.runs.findings.kernel_times import (
    kernel_times_file,
    load_kernel_times,
    measure_kernel_times,
    time_layers,
)
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.reprecision import full_precision
from tests.nas.parts.runs import make_run


@pytest.mark.slow
def test_every_kernel_of_a_network_is_timed_and_kept(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=2)
    trial = results.pick("knee")
    with Measurer(get_device("host"), "tvm") as measurer:
        times = measure_kernel_times(results.run, trial, measurer)
    assert load_kernel_times(results.run, trial.hash) == times
    rows = layer_rows(results.run.load_architecture(trial.hash).graph, times.layers)
    weighted = [row for row in rows if row.params]
    assert all(row.ms is not None and row.ms > 0 for row in weighted)
    assert "Each was timed alone in tvm on host" in write_report(results).read_text()


@pytest.mark.slow
def test_low_bit_layers_are_timed_beside_themselves_in_float32() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(32), net.input)
    for name in ("w8a8", "w4a4", "xnor", "bwn"):
        x = net.add(name, Conv2d(32, (3, 3), precision=PRECISIONS[name]), x)
    net.add("classifier", Linear(10), net.add("pool", GlobalAvgPool(), x))
    graph = net.graph()
    with Measurer(get_device("host"), "tvm") as measurer:
        times = time_layers(graph, measurer)
        plain = time_layers(full_precision(graph), measurer)

    assert plain.fp32_ms is None
    assert times.fp32_ms is not None
    can = {row.precision.name: row.instruction for row in capabilities(cpu_of(get_device("host")))}
    rows = {row.name: row for row in layer_rows(graph, times)}
    for name in ("w8a8", "w4a4", "xnor", "bwn"):
        row = rows[name]
        assert (row.precision, row.instruction) == (name, can[name])
        assert row.ms is not None and row.fp32_ms is not None  # noqa: PT018  (for the type checker)
        assert row.ms > 0
        assert row.fp32_ms > 0


def test_a_runtime_that_fuses_as_it_likes_says_so(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=1)
    with (
        Measurer(get_device("host"), "onnxruntime") as measurer,
        pytest.raises(UnsupportedOperatorError, match="tells no times per kernel"),
    ):
        measure_kernel_times(results.run, results.trials[0], measurer)
    assert load_kernel_times(results.run, results.trials[0].hash) is None


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=1)
    path = kernel_times_file(results.run, results.trials[0].hash)
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        load_kernel_times(results.run, results.trials[0].hash)
