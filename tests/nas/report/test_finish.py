"""The front is scored on images that the search never saw, and written down."""

import json
from pathlib import Path

import pytest

from nas.nn.interpreter import from_model
from nas.problem.search_problem import load_setting
from nas.report.finish import finish_run
from nas.runs.findings.front import front_json
from nas.search.run import run_search
from nas.training.accuracy import accuracy
from search_spaces.graphs.errors import UserError
from tests.nas.parts.tiny import tiny


def test_the_front_file_holds_the_test_accuracy_of_the_files_weights(tmp_path: Path) -> None:
    results = run_search(tiny(baselines=["lenet_300_100"]), tmp_path)
    assert "test_accuracy" not in json.dumps(front_json(results))

    finish_run(results)

    data = json.loads(results.run.front_file.read_text())
    assert data == front_json(results)
    assert [row["trial"] for row in data["front"]] == [trial.number for trial in results.front]
    test = load_setting(results.config).tensors.test
    for row in data["front"]:
        model = results.run.load_model(row["hash"])
        assert row["test_accuracy"] == accuracy(from_model(model), test)
        assert row["values"]["macs"] > 0
    picks = {which for row in data["front"] for which in row["picks"]}
    assert picks == {"best", "knee", "fastest"}
    assert [row["name"] for row in data["baselines"]] == ["lenet_300_100"]
    assert results.run.report_file.read_text().startswith("<!")


def test_a_trials_accuracy_is_that_of_its_weights_on_the_validation_images(tmp_path: Path) -> None:
    results = run_search(tiny(), tmp_path)
    validation = load_setting(results.config).tensors.validation

    for trial in results.trials:
        model = from_model(results.run.load_model(trial.hash))
        assert trial.evaluation.values["accuracy"] == accuracy(model, validation)


def test_a_run_without_a_front_is_finished_too(tmp_path: Path) -> None:
    results = run_search(tiny(constraints=["accuracy >= 1"], search={"trials": 2}), tmp_path)

    finish_run(results)

    assert json.loads(results.run.front_file.read_text())["front"] == []
    assert results.test_accuracies == {}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"front": [3]}'])
def test_a_damaged_front_file_is_named(tmp_path: Path, content: str) -> None:
    results = run_search(tiny(search={"trials": 1}), tmp_path)
    results.run.front_file.write_text(content)

    with pytest.raises(UserError, match=r"front\.json is damaged .*'nas search --resume'"):
        front_json(results)
