"""The front of a search with inherited weights is final once it is trained from nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.export.retrain import load_retrained, retrain, retrained_file
from nas.export.retrain_front import retrain_front
from nas.problem.metrics import METRICS
from nas.problem.search_problem import Setting, load_setting
from nas.report.inherited import inherited
from nas.report.page import report_html
from nas.runs.evaluation import Heritage
from nas.runs.files import write_json
from nas.runs.findings.front import front_json
from nas.runs.findings.retrained_front import (
    RetrainedNetwork,
    heirs_in_one_line,
    not_retrained,
    read_retrained_front,
    retrained_front_file,
    same_order,
    with_front,
)
from nas.runs.folder import RunFolder
from nas.search.run import run_search
from nas.study.results import RunResults, TrialResult, load_results
from nas.training.loop import EpochReport
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.tiny import tiny

FILE = tiny(
    baselines=["lenet_300_100"],
    training={"epochs": 3},
    search={"trials": 8, "initial": 4, "inherit": {"after": 2, "afresh": 0, "least_share": 0.1}},
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Setting]:
    """A finished search whose front has networks that inherited."""
    results = run_search(FILE, tmp_path_factory.mktemp("runs"))
    last = results.front[-1]
    other = next(trial for trial in results.trials if trial.hash != last.hash)
    heritage = Heritage(other.hash, 0.5)
    results.run.replace_evaluation(replace(last.evaluation, inherited=heritage))
    return load_results(results.run.path), load_setting(results.config)


class Watching:
    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.epochs: list[int] = []

    def begin(self, trial: TrialResult, number: int, of: int) -> None:
        self.begun.append((trial.name, number, of))

    def epoch(self, report: EpochReport) -> None:
        self.epochs.append(report.epoch)


def test_every_network_of_the_front_is_trained_from_nothing_by_the_recipe(
    searched: tuple[RunResults, Setting],
) -> None:
    results, setting = searched
    watching = Watching()

    networks = retrain_front(results, setting=setting, watcher=watching)

    front = {trial.hash: trial for trial in results.front}
    assert {each.hash for each in networks} == set(front)
    assert [number for _, number, _ in watching.begun] == [*range(1, len(front) + 1)]
    assert watching.epochs == [1, 2, 3] * len(front)
    for each in networks:
        _, known = load_retrained(results.run, each.hash)
        assert (each.epochs, each.values["accuracy"]) == (3, known.validation_accuracy)
        assert each.test_values["accuracy"] == known.test_accuracy
        assert each.values["macs"] == front[each.hash].evaluation.values["macs"]
        trial = front[each.hash].evaluation
        if trial.inherited is None:  # the same training, to the last bit
            assert each.values["accuracy"] == trial.values["accuracy"]
    assert read_retrained_front(results.run) == networks
    assert not_retrained(results, networks) == ()


def test_what_is_retrained_by_the_same_recipe_is_not_trained_again(
    searched: tuple[RunResults, Setting],
) -> None:
    results, setting = searched
    before = retrain_front(results, setting=setting)
    first = results.front[0]
    path = retrained_file(results.run, first.hash)
    path.write_bytes(path.read_bytes()[:-7])
    watching = Watching()

    again = retrain_front(results, setting=setting, watcher=watching)

    assert again == before
    assert watching.epochs == [1, 2, 3]
    longer = Watching()
    retrain_front(results, 4, setting=setting, watcher=longer)
    assert longer.epochs == [1, 2, 3, 4] * len(results.front)


def test_a_network_trained_on_the_validation_images_too_is_trained_again(
    searched: tuple[RunResults, Setting],
) -> None:
    results, setting = searched
    retrain_front(results, setting=setting)
    retrain(results, results.front[0], 3, with_validation=True, setting=setting)
    watching = Watching()

    retrain_front(results, setting=setting, watcher=watching)

    assert watching.epochs == [1, 2, 3]


def test_a_retraining_that_is_interrupted_goes_on_and_ends_as_one_that_was_not(
    searched: tuple[RunResults, Setting],
) -> None:
    results, setting = searched
    trial = results.front[0]
    retrain(results, trial, 3, setting=setting)
    undisturbed, _ = load_retrained(results.run, trial.hash)

    class KilledError(Exception):
        pass

    def kill(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        retrain(results, trial, 3, setting=setting, on_epoch=kill, every_s=0)
    said: list[str] = []
    epochs: list[int] = []

    retrain(
        results,
        trial,
        3,
        setting=setting,
        on_epoch=lambda report: epochs.append(report.epoch),
        say=said.append,
    )

    assert epochs == [2, 3]
    assert said == [f"{trial.name} goes on after epoch 1"]
    again, _ = load_retrained(results.run, trial.hash)
    for name, array in undisturbed.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    assert not list((results.run.path / "retrained" / "checkpoints").iterdir())


def test_published_networks_are_retrained_beside_the_front_where_that_is_asked(
    searched: tuple[RunResults, Setting],
) -> None:
    results, setting = searched
    assert results.baselines
    expected = {trial.hash for trial in (*results.front, *results.baselines)}

    networks = retrain_front(results, 1, baselines=True, setting=setting)

    assert {each.hash for each in networks} == expected
    assert all(each.epochs == 1 for each in networks)


def test_dominance_is_that_of_the_retrained_networks() -> None:
    metrics = (METRICS["accuracy"], METRICS["macs"])

    def network(key: str, accuracy: float, macs: float) -> RetrainedNetwork:
        return RetrainedNetwork(key, {"accuracy": accuracy, "macs": macs}, 3)

    told = with_front([network("a", 0.5, 9), network("b", 0.6, 5), network("c", 0.4, 2)], metrics)

    assert [(each.hash, each.on_front) for each in told] == [
        ("b", True),
        ("a", False),
        ("c", True),
    ]
    with pytest.raises(UserError, match="retrained network d has no macs; run nas retrain"):
        with_front([RetrainedNetwork("d", {"accuracy": 0.5}, 3)], metrics)


def test_the_order_of_accuracies_before_and_after_is_compared_pair_by_pair(
    searched: tuple[RunResults, Setting],
) -> None:
    results, _ = searched
    trials = results.trials[:4]
    accuracies = [trial.evaluation.values["accuracy"] for trial in trials]
    networks = [
        RetrainedNetwork(trial.hash, {"accuracy": 1 - accuracy}, 3)
        for trial, accuracy in zip(trials, accuracies, strict=True)
    ]

    assert same_order(results, networks) == -1
    assert same_order(results, networks[:2]) is None


def test_marks_and_lines_say_what_was_inherited_and_what_is_final(
    searched: tuple[RunResults, Setting],
) -> None:
    results, setting = searched
    retrained_front_file(results.run).unlink(missing_ok=True)
    heir = next(trial for trial in results.front if trial.evaluation.inherited is not None)
    assert heir.evaluation.mark("accuracy") == "*"
    assert heir.evaluation.mark("macs") == ""
    said = heirs_in_one_line(results)
    assert heir.name in said
    assert f"not final before nas retrain {results.run.path} --front" in said
    page = "".join(inherited(results))
    assert heir.name in page
    assert "retrained from nothing" not in page
    assert "retrained" not in front_json(results)

    retrain_front(results, setting=setting)

    assert "the front was retrained from nothing" in heirs_in_one_line(results)
    assert "retrained from nothing" in "".join(inherited(results))
    data = front_json(results)
    assert len(data["retrained"]) == len(results.front)
    assert [row["hash"] for row in data["front"] if "inherited" in row] == [
        trial.hash for trial in results.front if trial.evaluation.inherited is not None
    ]
    assert "Inherited weights" in report_html(results)


def test_the_command_retrains_the_front_and_shows_what_is_final(
    searched: tuple[RunResults, Setting],
) -> None:
    results, _ = searched
    name, at = results.run.path.name, results.run.path.parent

    said = nas("retrain", name, "--front", "--epochs", "1", at=at)

    assert "final front: retrained from nothing for 1 epochs" in said
    assert "final front" in nas("front", name, at=at)
    assert "inherited weights: " in nas("status", name, "--no-outlook", at=at)
    refused = nas("retrain", name, "--front", "--with-validation", at=at, code=2)
    assert "--front compares its networks on the validation images" in refused


def test_a_damaged_front_is_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    path = retrained_front_file(run)
    for damage in ({"networks": 3}, {"format": "other"}, {"networks": [{"hash": "a"}]}):
        write_json(path, damage)
        with pytest.raises(UserError, match="run nas retrain --front again"):
            read_retrained_front(run)
