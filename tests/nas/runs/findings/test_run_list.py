"""The list of runs: what each is about, and damaged ones among them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.runs.disk import disk_use
from nas.runs.evaluation import Evaluation
from nas.runs.findings.run_list import RunSummary, UnreadableRun, list_runs
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.runs import make_run, make_trained_run, run_file


def test_each_run_of_a_folder_is_a_row_by_its_name(tmp_path: Path) -> None:
    results = make_run(tmp_path, file=run_file("b", trials=4), trials=4)
    trained, _ = make_trained_run(tmp_path, name="a")
    (tmp_path / "no run").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.json").write_text("{")

    first, second, third = list_runs(tmp_path)

    assert isinstance(first, RunSummary)
    assert isinstance(second, RunSummary)
    assert (second.path.name, second.done, second.wanted) == ("b", 4, 4)
    assert second.front == len(results.front)
    best = max(trial.evaluation.values["accuracy"] for trial in results.feasible)
    assert second.best_accuracy == best
    assert second.best is not None
    assert (second.best.objective, second.best.value) == ("accuracy", best)
    assert second.best.interval is None  # how many images it is of is not on file
    assert first.best is not None
    assert first.best.interval is not None
    assert first.best.interval.holds(first.best.value)
    assert second.started is not None
    weights = trained.run.weights_file(trained.front[0].hash).stat().st_size
    assert first.disk.weight_bytes == first.disk.front_weight_bytes == weights
    assert first.disk.weights == 1
    assert first.disk.bytes > weights
    assert isinstance(third, UnreadableRun)
    assert "run.json is damaged" in third.reason


def with_balanced(number: int, evaluation: Evaluation) -> Evaluation:
    values = {**evaluation.values, "balanced_accuracy": 0.5 + 0.1 * number}
    return replace(evaluation, values=values)


def test_the_best_is_of_the_runs_own_first_aim(tmp_path: Path) -> None:
    aims = ["latency_ms", "balanced_accuracy"]
    make_run(tmp_path, file=run_file("b", aims, trials=3), trials=3, edit=with_balanced)
    make_run(tmp_path, file=run_file("cheap", ["latency_ms", "macs"], trials=3), trials=3)

    balanced, cheap = list_runs(tmp_path)
    said = nas("runs", ".", at=tmp_path)

    assert isinstance(balanced, RunSummary)
    assert balanced.best is not None
    assert (balanced.best.objective, balanced.best.value) == ("balanced_accuracy", 0.7)
    assert "balanced accuracy 70.00 %" in said
    assert isinstance(cheap, RunSummary)
    assert cheap.best is not None
    assert (cheap.best.objective, cheap.best.value) == ("accuracy", cheap.best_accuracy)
    (row, _) = json.loads(nas("runs", ".", "--json", at=tmp_path))
    assert row["best"] == {
        "objective": "balanced_accuracy",
        "value": 0.7,
        "name": "trial 2",
        "interval": None,
        "mark": "",
    }


def test_a_run_is_a_list_of_itself_and_no_run_is_an_error(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=1)

    (only,) = list_runs(results.run.path)

    assert only.path == results.run.path
    for empty in (tmp_path / "nowhere", results.run.path / "evaluations"):
        with pytest.raises(UserError, match="holds no runs; give the folder"):
            list_runs(empty)


def test_weights_off_the_front_are_told_apart(tmp_path: Path) -> None:
    trained, _ = make_trained_run(tmp_path)
    size = trained.run.weights_file(trained.front[0].hash).stat().st_size

    use = disk_use(trained.run, front=set())

    assert (use.weights, use.weight_bytes, use.front_weight_bytes) == (1, size, 0)
