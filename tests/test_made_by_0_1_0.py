"""What version 0.1.0 wrote is read, shown and gone on with, and says the same."""

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from latency_models.compiler.kernel_text import from_text, to_text
from latency_models.compiler.library import load_compiled
from latency_models.compiler.network_kernels import default_tile
from latency_models.devices.cpu import Cpu, host_features
from latency_models.devices.device import get_device
from latency_models.kernels import conv2d
from latency_models.measurement.readings import read_readings
from latency_models.onnx.session import open_session, run_session
from latency_models.transfer.model import load_latency_model
from nas.cli import app
from nas.evaluation.drawing import read_space
from nas.export.retrain import load_retrained
from nas.problem.run_file import read_run_file, to_yaml
from nas.problem.search_problem import load_setting
from nas.runs.summary import check_same_data
from nas.study.results import load_results
from search_spaces.space.architecture import graph_hash, load_architecture
from search_spaces.space.space import sample
from search_spaces.space.staged import count_architectures

MADE = Path(__file__).parent / "made_by_0_1_0"
EXPECTED: dict[str, Any] = json.loads((MADE / "expected.json").read_text())
RUNS = sorted(EXPECTED["runs"])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files; its devices and profiles are the user's."""
    place = tmp_path / "made"
    shutil.copytree(MADE, place)
    monkeypatch.setenv("HWNAS_DEVICES", str(place / "devices"))
    monkeypatch.setenv("HWNAS_PROFILES", str(place / "profiles"))
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(place)
    return place


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("name", RUNS)
def test_results_are_what_they_were(made: Path, name: str) -> None:
    expected = EXPECTED["runs"][name]

    results = load_results(made / "runs" / name)

    found = {
        trial.hash: {
            "name": trial.name,
            "status": trial.evaluation.status,
            "values": dict(trial.evaluation.values),
            "latency": trial.evaluation.latency and trial.evaluation.latency.source,
            "predicted_ms": trial.evaluation.predicted and trial.evaluation.predicted.median_ms,
        }
        for trial in results.trials
    }
    assert found == expected["trials"]
    assert [trial.hash for trial in results.front] == expected["front"]
    assert {which: results.pick(which).hash for which in expected["picks"]} == expected["picks"]
    for trial in results.trials:
        assert graph_hash(results.run.load_architecture(trial.hash).graph) == trial.hash


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_shown(made: Path, name: str) -> None:
    run = f"runs/{name}"
    best = EXPECTED["runs"][name]["picks"]["best"]

    rows = json.loads(printed("front", run, "--json"))["front"]
    printed("report", run)

    assert [row["hash"] for row in rows] == EXPECTED["runs"][name]["front"]
    assert "architectures" in printed("status", run)
    assert best in printed("show", f"{run}/architectures/{best}.json", "--no-times")
    assert "Pareto front" in (made / run / "report.html").read_text()


def test_a_killed_search_goes_on(made: Path) -> None:
    before = EXPECTED["runs"]["unfinished"]["trials"]

    printed("search", "runs/unfinished/config.yaml", "--resume")

    results = load_results(made / "runs" / "unfinished")
    found = {trial.hash: dict(trial.evaluation.values) for trial in results.trials}
    assert len(results.searched) == results.config.search.trials == len(before) + 3
    assert {key: found[key] for key in before} == {k: row["values"] for k, row in before.items()}
    assert results.num_running == 0
    assert "goes on after epoch 1" in results.run.log_file.read_text()
    assert "its search died" not in printed("status", "runs/unfinished")


def test_a_finished_search_can_be_enlarged(made: Path) -> None:
    expected = EXPECTED["runs"]["finished"]

    printed("search", "run.yaml", "--resume", "--trials", "6")

    results = load_results(made / "runs" / "finished")
    assert len(results.searched) == 6
    assert expected["trials"].keys() < {trial.hash for trial in results.trials}


def test_the_run_file_is_what_was_searched(made: Path) -> None:
    file, resolved = (read_run_file(made / n) for n in ("run.yaml", "runs/finished/config.yaml"))

    assert to_yaml(file) == to_yaml(resolved)
    for name in RUNS:
        config = read_run_file(made / "runs" / name / "config.yaml").config()
        check_same_data(made / "runs" / name / "data.json", load_setting(config).splits)


@pytest.mark.parametrize("name", sorted(EXPECTED["spaces"]))
def test_spaces_have_the_same_networks(made: Path, name: str) -> None:
    space = read_space(made / name, 1, 10)
    rng = Random(0)

    drawn = [graph_hash(sample(space, rng).graph) for _ in range(3)]

    assert {"size": count_architectures(space), "drawn": drawn} == EXPECTED["spaces"][name]


def test_retrained_weights_are_read(made: Path) -> None:
    expected = EXPECTED["retrained"]
    run = load_results(made / "runs" / "finished").run

    _, found = load_retrained(run, expected["hash"])

    assert found.test_accuracy == expected["test_accuracy"]


def test_devices_of_the_user_are_read(made: Path) -> None:
    kiosk, board = get_device("kiosk"), get_device("pi4")

    assert (kiosk.mcpu, kiosk.max_drift, kiosk.runtime) == ("x86-64-v2", 1.5, "tvm")
    assert (board.mcpu, board.rpc, board.is_remote) == ("cortex-a72", "10.0.0.2:9090", True)


@pytest.mark.parametrize("device", sorted(EXPECTED["predictions"]))
def test_latency_models_predict_what_they_did(
    made: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the same tiles: what nobody has timed is learned from them, and AVX2 has others since.
    monkeypatch.setattr(conv2d, "has_few_registers", lambda unit: False)
    default_tile.cache_clear()
    model = load_latency_model(device)

    for name, (*times, said) in EXPECTED["predictions"][device].items():
        graph = load_architecture(made / "architectures" / f"{name}.json").graph
        latency = model.latency(graph, extrapolate=True)
        assert latency.interval is not None
        found = [latency.median_ms, latency.interval.low_ms, latency.interval.high_ms]
        assert found == pytest.approx(times, rel=1e-9)
        assert latency.model == said
    default_tile.cache_clear()


def test_readings_of_a_profile_are_read(made: Path) -> None:
    rows = read_readings(made / "profiles" / "kiosk", "kernels")

    assert len(rows) == 45
    assert [to_text(from_text(text)) for text in rows["text"]] == list(rows["text"])


def test_exported_files_compute_what_they_did(made: Path) -> None:
    metadata = json.loads((made / "export" / "metadata.json").read_text())
    shape = (1, *metadata["input"]["shape"])
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = np.array(EXPECTED["export"]["outputs"], np.float32)

    session = open_session((made / "export" / "model.onnx").read_bytes())

    np.testing.assert_allclose(run_session(session, x)[0], expected, atol=1e-5)
    assert metadata["hash"] == EXPECTED["export"]["hash"]


@pytest.mark.skipif(
    not Cpu("x86-64-v2").features <= host_features(), reason="it is compiled for x86-64-v2"
)
def test_a_compiled_library_computes_what_it_did(made: Path) -> None:
    compiled = load_compiled(made / "export" / "model.so")
    shape = (1, *compiled.metadata.input_shape)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    expected = np.array(EXPECTED["export"]["outputs"], np.float32)
    np.testing.assert_allclose(compiled.run(x), expected, atol=1e-5)
