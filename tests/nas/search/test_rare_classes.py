"""A search among rare classes: seen, scored and weighed as such, at every door."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.problem.metrics import METRICS
from nas.problem.run_file import RunFile, to_yaml
from nas.problem.search_problem import load_setting
from nas.runs.findings.front import front_json
from nas.search.run import run_search
from nas.study.results import load_results
from nas.training.accuracy import confusion
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.tiny import tiny

pytestmark = pytest.mark.usefixtures("cache_of_its_own")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 images that tell nothing, 5 % of them of the second class."""
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), np.uint8)
    np.savez(path, images=images, labels=(np.arange(200) < 10).astype(int))
    return path


def rare(path: Path, objective: str = "accuracy", **changes: Any) -> RunFile:  # noqa: ANN401
    data = {"kind": "npz", "path": str(path), "train": 0.6, "validation": 0.2, "test": 0.2}
    file = tiny(data=data, objectives=[objective, "macs"], **changes)
    return RunFile(**file.model_dump() | {"data": data})


def test_accuracy_alone_is_warned_of_on_screen_in_status_and_in_the_report(
    noise: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(rare(noise, search={"trials": 2})))

    said = nas("search", "run.yaml", at=tmp_path)

    warning = "answers every validation image with '0' (accuracy 95.00 %, the share of that class)"
    assert warning in " ".join(said.split())
    assert warning in " ".join(nas("status", "runs/tiny", at=tmp_path).split())
    assert escape(warning) in (tmp_path / "runs/tiny/report.html").read_text()
    assert "95.00 % (83.5 to 98.6 %)" in nas("front", "runs/tiny", at=tmp_path)


@pytest.mark.parametrize("objective", ["balanced_accuracy", "macro_f1"])
def test_a_search_may_aim_at_rare_classes_and_stop_early_by_them(
    objective: str, noise: Path, tmp_path: Path
) -> None:
    training = {"epochs": 3, "class_weights": "balanced"}
    search = {"trials": 4, "early_stopping": {"reduction": 2}}
    file = rare(noise, objective, training=training, search=search)

    results = run_search(file, tmp_path)

    assert len(results.searched) == 4
    validation = load_setting(results.config).tensors.validation
    for trial in results.feasible:
        found = confusion(results.run.load_model(trial.hash), validation)
        assert trial.evaluation.confusion == found
        assert trial.evaluation.values[objective] == found.scores[objective]
    best = results.pick("best")
    values = [trial.evaluation.values[objective] for trial in results.feasible]
    assert best.evaluation.values[objective] == max(values)
    again = load_results(results.run.path)
    assert again.trials == results.trials
    (row, *_) = front_json(again)["front"]
    assert (objective in row["intervals"]) == (objective != "macro_f1")


def test_a_bound_on_balanced_accuracy_is_kept(noise: Path, tmp_path: Path) -> None:
    file = rare(noise, search={"trials": 1}, constraints=["balanced_accuracy >= 0.9"])

    results = run_search(file, tmp_path)

    (trial,) = results.trials
    assert trial.evaluation.status == "infeasible"
    assert "balanced_accuracy >= 0.9" in (trial.evaluation.reason or "")


def test_weights_of_classes_that_the_data_has_not_are_refused_before_the_search(
    noise: Path, tmp_path: Path
) -> None:
    file = rare(noise, training={"class_weights": {"7": 2.0}})

    with pytest.raises(UserError, match=r"class_weights must be of classes .* got '7'; .* 0, 1"):
        run_search(file, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_qualities_are_shares_to_maximise_that_training_tells() -> None:
    found = {name for name, metric in METRICS.items() if metric.is_quality}

    assert found == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert all(METRICS[name].direction == "maximize" for name in found)
