"""A search that evaluates slices of a supernet, from its training to a front trained on."""

from pathlib import Path
from typing import Any

import pytest

from nas.nn.interpreter import from_model
from nas.problem.run_file import RunFile
from nas.problem.search_problem import load_setting
from nas.search.run import run_search
from nas.study.results import load_results
from nas.training.accuracy import accuracy
from nas.training.supernet.training import SupernetReport
from search_spaces.graphs.errors import UserError
from tests.nas.parts.tiny import tiny

SHARED = {"evaluation": "supernet", "supernet": {"epochs": 2, "batch_size": 30, "tune_epochs": 1}}


def shared(**search: Any) -> RunFile:  # noqa: ANN401
    return tiny(search={**SHARED, **search}, baselines=["lenet_300_100"])


def test_candidates_are_slices_and_the_front_is_trained_on(tmp_path: Path) -> None:
    reports: list[SupernetReport] = []
    notes: list[str] = []
    found = run_search(shared(), tmp_path, on_supernet=reports.append, on_note=notes.append)

    assert [report.epoch for report in reports] == [1, 2]
    assert any(note.startswith("supernet: ") for note in notes)
    by_weights = {trial.name: trial.evaluation.weights for trial in found.trials}
    assert by_weights["lenet_300_100"] == "own"
    of_space = {t.hash: t.evaluation for t in found.trials if t.baseline is None}
    assert len(of_space) == 6
    front = {trial.hash for trial in found.front}
    for key, evaluation in of_space.items():
        assert (evaluation.weights == "tuned") >= (key in front)
        assert evaluation.epochs == 2 + (evaluation.weights == "tuned")
        assert ("accuracy" in evaluation.unsure) == (evaluation.weights == "slice")
    assert {each.weights for each in of_space.values()} == {"slice", "tuned"}


def test_the_weights_on_file_are_those_that_were_scored(tmp_path: Path) -> None:
    file = shared(trials=3)
    found = run_search(file, tmp_path)
    split = load_setting(file.config()).tensors.validation

    for trial in load_results(tmp_path / "tiny").trials:
        model = found.run.load_model(trial.hash)
        assert accuracy(from_model(model), split) == trial.evaluation.values["accuracy"]


def test_a_search_that_is_resumed_takes_up_the_supernet_it_has(tmp_path: Path) -> None:
    run_search(shared(trials=2), tmp_path)
    reports: list[SupernetReport] = []
    found = run_search(shared(trials=4), tmp_path, resume=True, on_supernet=reports.append)

    assert reports == []
    assert len(found.searched) == 4


def test_another_supernet_in_the_run_is_refused_before_anything_happens(tmp_path: Path) -> None:
    run_search(shared(trials=2), tmp_path)
    other = tmp_path / "other"
    run_search(tiny(search=SHARED, training={"seed": 5}), other)
    name = "supernet.safetensors"
    (tmp_path / "tiny" / name).write_bytes((other / "tiny" / name).read_bytes())

    with pytest.raises(UserError, match="same recipe") as caught:
        run_search(shared(trials=3), tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_processes_evaluate_the_same_slices(tmp_path: Path, digits_file: dict[str, Any]) -> None:
    here, there = (
        run_search(
            tiny(data=digits_file, search={**SHARED, "trials": 4, "workers": workers}),
            tmp_path / str(workers),
        )
        for workers in (1, 2)
    )
    values = {t.hash: t.evaluation for t in here.trials if t.evaluation.weights == "slice"}
    both = [t.evaluation for t in there.trials if t.hash in values]

    assert all(
        dict(each.values) == dict(values[each.hash].values)
        for each in both
        if each.weights == "slice"
    )
    assert {trial.evaluation.weights for trial in there.trials} <= {"slice", "tuned"}


def test_a_teacher_beside_a_supernet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training\.teacher must be none"):
        tiny(search=SHARED, training={"teacher": "models/large"})


def test_enas_controller_on_shared_weights_runs(tmp_path: Path) -> None:
    file = shared(sampler="reinforce", trials=6, initial=3)

    assert len(run_search(file, tmp_path).searched) == 6
