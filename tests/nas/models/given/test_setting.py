"""Given models: teachers and baselines that are trained networks, in whole small searches."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.export.network import network_of_trial
from nas.export.retrain import load_retrained, retrain
from nas.models.archives.archive import archive_bytes, write_archive
from nas.models.folder import ModelInput, fingerprint, read_model
from nas.models.given.setting import load_whole_setting, recorded
from nas.problem.data_paths import with_absolute_paths
from nas.problem.run_file import RunFile
from nas.problem.search_problem import load_setting
from nas.report.finish import trained_here
from nas.search.run import run_search
from nas.study.results import RunResults
from nas.training.accuracy import accuracy
from nas.training.candidate import LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from nas.training.loop import train
from nas.training.state import DamagedStateError, Recipe, from_bytes
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture
from tests.nas.parts.models import small_folder, small_graph, small_model
from tests.nas.parts.tiny import tiny
from tests.nas.parts.trainings import check_same

UNKNOWN: dict[str, Any] = {"class_names": None, "input": ModelInput()}


def searching(folder: Path, **changes: Any) -> RunFile:  # noqa: ANN401
    """A run with a teacher, and with the same network as a baseline."""
    training = {"epochs": 1, "batch_size": 30, "device": "cpu", "teacher": str(folder)}
    data = {"training": training, "baselines": [str(folder)], "search": {"trials": 2}}
    return tiny(**data | changes)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    place = tmp_path_factory.mktemp("given")
    folder = small_folder(place / "small", **UNKNOWN)
    return run_search(searching(folder), place / "runs")


def test_a_given_baseline_is_scored_as_it_is(searched: RunResults) -> None:
    given = read_model(searched.run.path.parent.parent / "small").model
    (baseline,) = searched.baselines
    validation = load_setting(searched.config).tensors.validation

    assert baseline.name == "small as trained"
    assert baseline.evaluation.status == "finished"
    assert baseline.evaluation.epochs == 0
    assert baseline.evaluation.values["accuracy"] == accuracy(given, validation)
    assert fingerprint(searched.run.load_model(baseline.hash)) == fingerprint(given)
    assert len(searched.searched) == 2


def test_a_given_baseline_of_the_front_is_tested_at_the_end_like_others(
    searched: RunResults,
) -> None:
    alone = replace(searched, trials=searched.baselines)

    assert trained_here(alone) == list(searched.baselines)


def test_an_export_says_whether_weights_were_given_or_searched(searched: RunResults) -> None:
    splits = load_setting(searched.config).splits
    found = {
        trial.baseline: network_of_trial(searched, trial, splits).weights["from"]
        for trial in (*searched.baselines, searched.searched[0])
    }

    assert found == {"small as trained": "a given model", None: "the search"}


def test_candidates_learn_from_the_teacher(searched: RunResults) -> None:
    given = read_model(searched.run.path.parent.parent / "small").model
    trial, tensors = searched.searched[0], load_setting(searched.config).tensors
    graph = searched.run.load_architecture(trial.hash).graph
    taught, alone = (
        train(graph, tensors, searched.config.training, teacher=teacher).model
        for teacher in (given, None)
    )

    assert fingerprint(searched.run.load_model(trial.hash)) == fingerprint(taught)
    assert fingerprint(taught) != fingerprint(alone)


def test_a_run_goes_on_with_the_same_models_wherever_they_lie_and_with_no_others(
    searched: RunResults, tmp_path: Path
) -> None:
    first = searched.run.path.parent.parent
    shutil.copytree(first, tmp_path / "copy")
    runs, folder = tmp_path / "copy/runs", first / "small"
    more = {"search": {"trials": 3}}
    moved = {"epochs": 1, "batch_size": 30, "device": "cpu", "teacher": str(tmp_path / "moved")}
    shutil.copytree(folder, tmp_path / "moved")

    file = searching(folder, training=moved, **more)
    assert len(run_search(file, runs, resume=True).searched) == 3

    other = small_model(**UNKNOWN)
    arrays = {name: 2 * array for name, array in other.model.arrays.items()}
    small_folder(tmp_path / "moved", model=Model(other.model.graph, arrays), **UNKNOWN)
    with pytest.raises(UserError, match="was searched with another teacher"):
        run_search(file, runs, resume=True)
    without = searching(folder, training=moved | {"teacher": None}, **more)
    with pytest.raises(UserError, match="was searched with another teacher"):
        run_search(without, runs, resume=True)
    assert recorded(searched.run).keys() == {
        "teacher",
        f"baseline {graph_hash(other.model.graph)}",
    }


def test_an_archive_stands_for_the_folder_that_it_was_made_of(
    searched: RunResults, tmp_path: Path
) -> None:
    first = searched.run.path.parent.parent
    shutil.copytree(first / "runs", tmp_path / "runs")
    archive = tmp_path / "small.hwz"
    write_archive(archive, read_model(first / "small"))

    training = {"epochs": 1, "batch_size": 30, "device": "cpu", "teacher": str(archive)}
    file = searching(first / "small", training=training, search={"trials": 3})

    results = run_search(file, tmp_path / "runs", resume=True)

    assert results.baselines == searched.baselines
    assert len(results.searched) == 3
    found = retrain(results, results.searched[0], 1, teacher=archive)
    taught = fingerprint(load_retrained(results.run, found.hash)[0])
    assert taught == fingerprint(results.run.load_model(results.searched[0].hash))


def test_an_archive_is_a_baseline_as_it_is(searched: RunResults, tmp_path: Path) -> None:
    archive = tmp_path / "small.hwz"
    write_archive(archive, read_model(searched.run.path.parent.parent / "small"))

    file = searching(archive, search={"trials": 1})
    (baseline,) = run_search(file, tmp_path / "runs").baselines

    (known,) = searched.baselines
    assert (baseline.name, baseline.hash) == (known.name, known.hash)
    assert baseline.evaluation.values == known.evaluation.values


def test_a_run_without_models_keeps_no_record_of_them(tmp_path: Path) -> None:
    results = run_search(tiny(search={"trials": 1}), tmp_path)

    assert not results.run.models_file.exists()
    with_one = searching(small_folder(tmp_path / "small", **UNKNOWN), baselines=[])
    with pytest.raises(UserError, match="was searched with another teacher"):
        run_search(with_one, tmp_path, resume=True)


def test_a_baseline_that_was_given_stays_as_it_is_when_others_train_for_longer(
    searched: RunResults, tmp_path: Path
) -> None:
    first = searched.run.path.parent.parent
    shutil.copytree(first, tmp_path / "copy")
    longer = searching(first / "small")
    training = longer.training.model_copy(update={"epochs": 2})
    said: list[str] = []

    results = run_search(
        longer.model_copy(update={"training": training}),
        tmp_path / "copy/runs",
        resume=True,
        change=True,
        on_note=said.append,
    )

    (baseline,) = results.baselines
    assert baseline.evaluation == searched.baselines[0].evaluation
    assert not any("small as trained" in line for line in said)
    assert {trial.evaluation.epochs for trial in results.front} <= {0, 2}


def wrong_size(path: Path) -> RunFile:
    return searching(small_folder(path, shape=(1, 16, 16), **UNKNOWN), baselines=[])


def wrong_classes(path: Path) -> RunFile:
    return searching(small_folder(path, classes=7, **UNKNOWN), baselines=[])


def wrong_channels(path: Path) -> RunFile:
    return searching(small_folder(path, shape=(3, 8, 8), **UNKNOWN), baselines=[])


def wrong_names(path: Path) -> RunFile:
    return searching(small_folder(path, input=ModelInput()), baselines=[])


def wrong_statistics(path: Path) -> RunFile:
    return searching(small_folder(path, class_names=None), baselines=[])


def missing(path: Path) -> RunFile:
    return searching(path, baselines=[])


def damaged(path: Path) -> RunFile:
    (small_folder(path, **UNKNOWN) / "model.safetensors").write_bytes(b"nothing")
    return searching(path, baselines=[])


def archive_of_other_classes(path: Path) -> RunFile:
    write_archive(path, small_model(classes=7, **UNKNOWN))
    return searching(path, baselines=[])


def cut_archive(path: Path) -> RunFile:
    path.write_bytes(archive_bytes(small_model(**UNKNOWN))[:-30])
    return searching(path, baselines=[])


def another_file(path: Path) -> RunFile:
    path.write_text("no model")
    return searching(path, baselines=[])


TEACHERS: dict[str, tuple[Callable[[Path], RunFile], str]] = {
    "size": (wrong_size, "takes inputs of 1x16x16, the space: 8 has 1x8x8"),
    "classes": (wrong_classes, "small has 7 outputs, digits train 10 classes"),
    "channels": (wrong_channels, "small takes images of 3 channels, digits train has 1"),
    "names": (wrong_names, "small calls its output 0 'digit 0', digits train that class '0'"),
    "statistics": (wrong_statistics, "set data.normalization to what the network expects"),
    "missing": (missing, "must be a model folder"),
    "archive of other classes": (archive_of_other_classes, "small has 7 outputs, digits train"),
    "cut archive": (cut_archive, "no whole archive"),
    "another file": (another_file, "must be a model folder or an archive"),
    "damaged": (damaged, "model.safetensors is not the file that was written"),
}


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_model_that_does_not_fit_is_one_line_before_anything_starts(
    kind: str, tmp_path: Path
) -> None:
    make, message = TEACHERS[kind]
    file = make(tmp_path / "m")

    with pytest.raises(UserError, match=message) as caught:
        run_search(file, tmp_path / "runs")

    assert str(caught.value).startswith(f"teacher {tmp_path}/m")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
    if kind != "size":  # a baseline may have any
        training = file.training.model_copy(update={"teacher": None})
        given = searching(tmp_path / "m").model_copy(update={"training": training})
        with pytest.raises(UserError, match=message) as caught:
            run_search(given, tmp_path / "runs")
        assert str(caught.value).startswith(f"baseline {tmp_path}/m")


def test_two_baselines_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [str(small_folder(tmp_path / name, **UNKNOWN)) for name in ("a", "b")]

    with pytest.raises(UserError, match="names of baselines must differ, got 'small' twice"):
        load_whole_setting(tiny(baselines=paths).config())


def test_what_is_enqueued_must_take_what_the_teacher_takes(tmp_path: Path) -> None:
    file = searching(small_folder(tmp_path / "m", **UNKNOWN), baselines=[])
    other = Architecture("other", (), small_graph((1, 12, 12)))

    with pytest.raises(UserError, match="it takes inputs of 1x12x12, "):
        run_search(file, tmp_path / "runs", enqueue=[other])


def test_a_taught_training_goes_on_to_the_same_weights_with_no_other_teacher(
    tmp_path: Path,
) -> None:
    teacher = small_model(**UNKNOWN).model
    config = tiny(training={"epochs": 3, "batch_size": 30, "device": "cpu"}).config()
    tensors, graph = load_setting(config).tensors, small_graph(width=6)
    kept = FolderCheckpoints(tmp_path)
    whole = train(graph, tensors, config.training, teacher=teacher)

    class StoppedError(Exception):
        pass

    def stop(key: str, values: object, report: Any) -> bool:  # noqa: ANN401
        if report.epoch == 2:
            raise StoppedError
        return True

    first = LocalTraining(config, tensors, kept, stop, every_s=0.0, teacher=teacher)
    with pytest.raises(StoppedError):
        first(Architecture("", (), graph), {})
    again = LocalTraining(config, tensors, kept, every_s=0.0, teacher=teacher)
    state = kept.load(graph_hash(graph))
    assert state is not None
    for recipe in (
        replace(again.recipe(graph), teacher=None),
        replace(again.recipe(graph), teacher="0" * 64),
    ):
        with pytest.raises(DamagedStateError, match="of the same recipe"):
            from_bytes(state, recipe)

    check_same(again(Architecture("", (), graph), {}), whole)


def test_where_a_teacher_lies_does_not_count_and_none_changes_no_fingerprint() -> None:
    config = tiny().config().training
    there = replace(config, teacher="/there/m")

    alone = Recipe(small_graph(), config, "data", "cpu")
    taught = Recipe(small_graph(), there, "data", "cpu", "f" * 64)
    moved = replace(taught, config=replace(config, teacher="/elsewhere/m"))

    assert alone.fingerprint == Recipe(small_graph(), there, "data", "cpu").fingerprint
    assert taught.fingerprint == moved.fingerprint != alone.fingerprint


def test_retraining_learns_from_the_runs_teacher_or_from_another(
    searched: RunResults, tmp_path: Path
) -> None:
    trial = searched.searched[0]
    found = []
    other = small_folder(tmp_path / "other", shape=(1, 8, 8), **UNKNOWN)
    arrays = {name: 2 * array for name, array in read_model(other).model.arrays.items()}
    small_folder(other, model=Model(read_model(other).model.graph, arrays), **UNKNOWN)
    for teacher in (None, other):
        retrain(searched, trial, 1, teacher=teacher)
        found.append(fingerprint(load_retrained(searched.run, trial.hash)[0]))

    assert found[0] == fingerprint(searched.run.load_model(trial.hash))
    assert found[1] != found[0]
    with pytest.raises(UserError, match="must be a model folder"):
        retrain(searched, trial, 1, teacher=tmp_path / "nowhere")
    training = replace(searched.config.training, teacher=str(other))
    moved = replace(searched, config=replace(searched.config, training=training))
    with pytest.raises(UserError, match="was searched with another teacher"):
        retrain(moved, trial, 1)
    gone = replace(training, teacher=str(tmp_path / "gone"))
    moved = replace(searched, config=replace(searched.config, training=gone))
    with pytest.raises(UserError, match="say where it lies now with --teacher"):
        retrain(moved, trial, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "m/x", "width": 0.5}, "taken as it is; leave out width"),
        ({"model": "m/x", "network": "lenet5"}, "must have either 'network'"),
        ({"width": 0.5}, "must have either 'network'"),
        ({"model": 5}, "valid string"),
    ],
)
def test_a_baseline_is_a_published_network_or_a_model(given: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        tiny(baselines=[given])


def test_a_teacher_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="distillation_weight must be above 0 where there is"):
        tiny(training={"teacher": "m", "distillation_weight": 0})


def test_paths_of_models_are_kept_absolute_and_stay_what_they_were(tmp_path: Path) -> None:
    file = tiny(training={"teacher": "m/teacher"}, baselines=["lenet5", "m/small"])
    there = tiny(training={"teacher": "/a/m/teacher"}, baselines=["lenet5", "/a/m/small"])

    made = with_absolute_paths(file)
    gone_on = with_absolute_paths(file, there)

    assert made.training.teacher == str(Path("m/teacher").absolute())
    assert made.baselines[1].model == str(Path("m/small").absolute())
    assert made.baselines[0] == file.baselines[0]
    assert gone_on == there
