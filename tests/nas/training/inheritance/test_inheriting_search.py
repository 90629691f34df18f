"""A search whose candidates inherit says so, and goes on after a kill with the same parents."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nas.data.tensors import TensorSplits
from nas.evaluation.evaluator import Evaluator
from nas.problem.records import RunConfig
from nas.problem.run_file import read_run_file, to_yaml
from nas.runs.folder import RunFolder, create_run
from nas.search.run import about_heirs, run_search
from nas.study.results import RunResults, load_results
from nas.training.candidate import LocalTraining, always
from nas.training.checkpoints import FolderCheckpoints
from nas.training.inheritance.parents import parents_in
from nas.training.loop import EpochReport
from tests.nas.parts.tiny import tiny
from tests.nas.parts.trainings import few_digits

FILE = tiny(
    training={"epochs": 4},
    search={"trials": 10, "initial": 4, "inherit": {"after": 3, "least_share": 0.1}},
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return run_search(FILE, tmp_path_factory.mktemp("runs"))


def test_children_are_trained_for_a_share_of_the_epochs_and_say_whose_they_are(
    results: RunResults,
) -> None:
    every = {trial.hash: trial.evaluation for trial in results.trials}
    heirs = [each for each in every.values() if each.inherited is not None]

    assert {each.epochs for each in heirs} == {1}
    assert {each.epochs for each in every.values() if each.inherited is None} == {4}
    assert 4 <= len(heirs) <= 7
    for each in heirs:
        assert each.inherited is not None
        assert each.inherited.parent in every
        assert 0.1 <= each.inherited.share <= 1
    assert load_results(results.run.path).trials == results.trials
    assert not list(results.run.heritage.iterdir())


class KilledError(Exception):
    """Stands for the end of a process."""


@dataclass
class KillsAfter:
    epochs: int
    seen: list[int] = field(default_factory=list)

    def __call__(self, key: str, values: object, report: EpochReport) -> bool:
        self.seen.append(report.epoch)
        if report.epoch > self.epochs:
            raise KilledError
        return True


@dataclass(frozen=True)
class Family:
    """A run with a trained network, and a child of it that is to be trained."""

    run: RunFolder
    config: RunConfig
    data: TensorSplits
    parent: str
    child: str

    def training(self, may_go_on: KillsAfter | None = None) -> LocalTraining:
        return LocalTraining(
            self.config,
            self.data,
            FolderCheckpoints(self.run.checkpoints),
            may_go_on or always,
            every_s=0,
            parents=parents_in(self.run, self.config),
        )


@pytest.fixture
def family(results: RunResults, tmp_path: Path) -> Family:
    """The family in a folder of its own, trained by a recipe of several epochs for the child."""
    file = read_run_file(
        results.run.config_file,
        ["training.epochs=8", "search.inherit.epochs=0.5", "search.inherit.after=1"],
    )
    config, few = file.config(), few_digits()
    run = create_run(tmp_path / "family", to_yaml(file))
    heir = next(trial for trial in results.trials if trial.evaluation.inherited is not None)
    assert heir.evaluation.inherited is not None
    key = heir.evaluation.inherited.parent
    child = Family(run, config, few, key, heir.hash)
    Evaluator(config, child.training(), None, run).evaluate(results.run.load_architecture(key))
    return child


def test_a_child_that_was_killed_goes_on_with_its_parent_and_ends_the_same(
    family: Family, results: RunResults
) -> None:
    candidate = results.run.load_architecture(family.child)
    whole = family.training()(candidate, {})
    family.training().forget(family.child)
    with pytest.raises(KilledError):
        family.training(KillsAfter(2))(candidate, {})
    family.run.weights_file(family.parent).unlink()  # of no more use

    later = KillsAfter(9)
    again = family.training(later)(candidate, {})

    assert later.seen == [3]  # of four, the last is not asked for
    assert again.inherited == whole.inherited
    assert again.inherited is not None
    assert again.inherited.parent == family.parent
    assert again.validation_accuracy == whole.validation_accuracy


def test_a_parent_whose_weights_went_before_the_child_began_is_said_and_it_starts_from_nothing(
    family: Family, results: RunResults, caplog: pytest.LogCaptureFixture
) -> None:
    candidate = results.run.load_architecture(family.child)
    alone = LocalTraining(family.config, family.data, FolderCheckpoints(family.run.checkpoints))
    assert parents_in(family.run, family.config).heritage_of(candidate) is not None
    path = family.run.weights_file(family.parent)
    path.write_bytes(path.read_bytes()[:-5])

    found = family.training()(candidate, {})

    assert found.inherited is None
    assert found.validation_accuracy == alone(candidate, {}).validation_accuracy
    assert len(found.validation_accuracy) == 8
    assert parents_in(family.run, family.config).heritage_of(candidate) is None


def test_inheritance_and_rungs_exclude_each_other_in_one_line() -> None:
    with pytest.raises(ValueError, match="inherit and early_stopping exclude each other"):
        tiny(training={"epochs": 4}, search={"inherit": {}, "early_stopping": {}})


def test_where_weights_off_the_front_go_is_said_what_that_means_for_heirs() -> None:
    heirs: dict[str, object] = {"inherit": {}}

    assert about_heirs(tiny(search=heirs).config()) == []
    assert about_heirs(tiny(search={"keep_weights": "front"}).config()) == []
    (said,) = about_heirs(tiny(search=heirs | {"keep_weights": "front"}).config())
    assert "candidates inherit from the front of the moment alone" in said


@pytest.mark.parametrize(
    ("key", "value"), [("epochs", 0), ("after", 0), ("afresh", 1), ("least_share", 1.5)]
)
def test_settings_out_of_range_are_named(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"inherit.{key} must be"):
        tiny(search={"inherit": {key: value}})


def test_evaluations_of_before_have_no_word_of_inheritance(results: RunResults) -> None:
    old = next(trial for trial in results.trials if trial.evaluation.inherited is None)
    new = next(trial for trial in results.trials if trial.evaluation.inherited is not None)

    assert "inherited" not in json.loads(results.run.evaluation_file(old.hash).read_text())
    data = json.loads(results.run.evaluation_file(new.hash).read_text())
    assert set(data["inherited"]) == {"parent", "share"}
