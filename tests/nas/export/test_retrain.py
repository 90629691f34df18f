"""Retraining a network of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from nas.export.retrain import LONGER, joined, load_retrained, retrain, retrained_file
from nas.problem.search_problem import Setting
from nas.study.results import RunResults
from nas.training.accuracy import accuracy
from nas.training.loop import EpochReport
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import make_trained_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Setting]:
    return make_trained_run(tmp_path_factory.mktemp("run"))


def test_retrained_weights_are_filed_and_give_the_reported_accuracies(
    trained: tuple[RunResults, Setting],
) -> None:
    results, setting = trained
    trial = results.front[0]
    found = retrain(results, trial, epochs=2, setting=setting)
    model, known = load_retrained(results.run, trial.hash)
    assert known == found
    assert accuracy(model, setting.tensors.test) == found.test_accuracy
    assert accuracy(model, setting.tensors.validation) == found.validation_accuracy
    searched = results.run.load_model(trial.hash)
    assert any(not np.array_equal(model.arrays[n], searched.arrays[n]) for n in model.arrays)
    record = json.loads(found.weights_file.with_suffix(".json").read_text())
    assert record["training"]["epochs"] == 2


def test_a_retraining_is_longer_than_the_search_unless_told_otherwise(
    trained: tuple[RunResults, Setting],
) -> None:
    results, setting = trained
    seen: list[EpochReport] = []
    retrain(results, results.front[0], setting=setting, on_epoch=seen.append)
    assert len(seen) == LONGER * results.config.training.epochs


def test_validation_images_may_be_trained_on_and_then_score_nothing(
    trained: tuple[RunResults, Setting],
) -> None:
    results, setting = trained
    found = retrain(results, results.front[0], 1, with_validation=True, setting=setting)
    assert found.validation_accuracy is None
    assert 0 <= found.test_accuracy <= 1
    both = joined(setting.splits)
    assert len(both.train) == len(setting.splits.train) + len(setting.splits.validation)
    assert both.normalization == setting.splits.normalization
    assert both.test is setting.splits.test


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    results, setting = make_trained_run(tmp_path)
    key = results.front[0].hash
    retrain(results, results.front[0], 1, setting=setting)
    retrained_file(results.run, key).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"is damaged .*; run nas retrain again"):
        load_retrained(results.run, key)


def test_nonsense_epochs_are_refused(trained: tuple[RunResults, Setting]) -> None:
    results, setting = trained
    with pytest.raises(UserError, match="epochs must be at least 1, got 0"):
        retrain(results, results.front[0], 0, setting=setting)
