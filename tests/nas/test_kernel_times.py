"""Times of a network's kernels, kept in the run."""

from pathlib import Path

import pytest

from latency_models.device import get_device
from latency_models.measure import Measurer
from nas.kernel_times import kernel_times_file, load_kernel_times, measure_kernel_times
from nas.report import write_report
from nas.tables import layer_rows
from search_spaces.errors import UnsupportedOperatorError, UserError
from tests.nas.runs import make_run


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
