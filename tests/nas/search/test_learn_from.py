"""A search learns from earlier runs, keeps what it learned, and refuses what teaches nothing."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas.problem.run_file import RunFile, to_yaml
from nas.runs.findings.earlier_run import kept
from nas.runs.folder import RunFolder
from nas.search.run import run_search
from nas.study.names import EARLIER
from nas.study.results import RunResults
from nas.study.storages import open_storage
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.tiny import SPACE, tiny

OTHER_SPACE = {
    "resolution": 8,
    "stem": {"width": 6, "stride": 2},
    "stages": [{"depth": 1, "width": 8, "blocks": [{"plain": {"kernel_size": 3}}]}],
    "head": {"width": [0, 16]},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of more epochs, one of another space, and one without a trial."""
    folder = tmp_path_factory.mktemp("runs")
    run_search(tiny(name="before", search={"trials": 16}, training={"epochs": 3}), folder)
    run_search(tiny(name="other", space=OTHER_SPACE, search={"trials": 2}), folder)
    shutil.copytree(folder / "before", folder / "begun")
    for left in ("study.journal", "evaluations"):
        path = folder / "begun" / left
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def learning(*earlier: object, **changes: Any) -> RunFile:  # noqa: ANN401
    search = {
        "sampler": "surrogate",
        "initial": 8,
        "trials": 14,
        "learn_from": [str(path) for path in earlier],
    }
    return tiny(**(changes | {"search": search | changes.get("search", {})}))


def genes(results: RunResults) -> list[object]:
    return [trial.genes for trial in results.trials]


def test_the_best_of_an_earlier_run_is_tried_first_and_what_it_found_is_kept(
    runs: Path, tmp_path: Path
) -> None:
    said: list[str] = []

    results = run_search(learning(runs / "before"), tmp_path, on_note=said.append)

    (earlier,) = kept(results.run)
    front = [earlier.genes(at) for at in earlier.front(results.metrics)]
    assert [said for said in said if "learning from" in said] == [
        f"learning from {runs / 'before'}: 16 trials, {len(earlier.choices)} genes in common"
    ]
    assert [dict(trial.genes) in front for trial in results.trials[3:8:4]] == [True] * 2
    assert len(results.searched) == 14


def test_a_search_that_goes_on_learns_the_same_though_the_run_is_gone(
    runs: Path, tmp_path: Path
) -> None:
    before = shutil.copytree(runs / "before", tmp_path / "before")
    whole = run_search(learning(before), tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(progress: Any) -> None:  # noqa: ANN401
        if progress.done == 9:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_search(learning(before), tmp_path / "parts", on_progress=stop)
    shutil.rmtree(before)
    results = run_search(learning(before), tmp_path / "parts", resume=True)

    assert genes(results) == genes(whole)


def test_paths_are_kept_absolute_so_that_a_search_goes_on_from_any_folder(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    run_search(learning("before", search={"trials": 3}), tmp_path)
    monkeypatch.chdir(tmp_path)

    results = run_search(learning("before", search={"trials": 4}), tmp_path, resume=True)

    assert len(results.searched) == 4
    assert results.config.search.learn_from == (str(runs / "before"),)


@pytest.mark.slow
def test_a_driver_that_joins_learns_what_the_study_says_without_the_earlier_run(
    runs: Path, tmp_path: Path
) -> None:
    before = shutil.copytree(runs / "before", tmp_path / "before")
    url = f"sqlite:///{tmp_path}/studies.db"
    first = run_search(learning(before, search={"storage": url, "trials": 6}), tmp_path / "a")
    shutil.rmtree(before)

    elsewhere = learning("/elsewhere/before", search={"storage": url, "trials": 12})
    second = run_search(elsewhere, tmp_path / "b", join=True)

    assert genes(second)[:6] == genes(first)
    assert len(second.searched) == 12
    assert second.run.earlier_runs_file.read_bytes() == first.run.earlier_runs_file.read_bytes()
    with pytest.raises(
        UserError, match=r"other terms .*learn_from: \['before'\] -> \['another'\]"
    ):
        run_search(
            learning("/elsewhere/another", search={"storage": url}), tmp_path / "c", join=True
        )


def test_a_damaged_study_is_named(runs: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    file = learning(runs / "before", search={"storage": url, "trials": 2})
    run_search(file, tmp_path / "a")
    study = optuna.load_study(study_name="tiny", storage=open_storage(url, Path()))
    study.set_user_attr(EARLIER, {"format": "forged"})

    with pytest.raises(UserError, match=r"the study is damaged: its earlier runs .*search anew"):
        run_search(file, tmp_path / "b", join=True)


def refused(
    folder: Path,
    earlier: Sequence[object],
    **changes: Any,  # noqa: ANN401
) -> str:
    """Returns the one line that a dry run and a search are refused with; nothing is written."""
    file, runs = folder / "run.yaml", folder / "runs"
    file.write_text(to_yaml(learning(*earlier, **changes)))
    words = [str(file), "--runs", str(runs)]
    said = {
        re.sub(r"tried for .* s", "", nas("search", *words, *more, at=folder, code=2))
        for more in ([], ["--dry-run"])
    }
    assert len(said) == 1
    assert not runs.exists() or not (runs / "tiny").exists()
    (line,) = said.pop().splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("missing", "holds no run"),
        ("begun", "has no finished trial of its space; go on with its search, or leave it out"),
        ("other", "is of another space: no gene with a value that this one may take is in common"),
    ],
)
def test_what_teaches_nothing_is_refused_before_anything_begins(
    runs: Path, tmp_path: Path, name: str, named: str
) -> None:
    line = refused(tmp_path, [runs / name])

    assert line.startswith(f"error: search.learn_from: {runs / name} ")
    assert named in line


def test_damaged_runs_are_refused_by_what_is_damaged(runs: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(runs / "before", tmp_path / "broken")
    evaluation = next((broken / "evaluations").glob("*.json"))
    text = evaluation.read_text()
    evaluation.write_text(text[: len(text) // 2])
    assert f"search.learn_from: {evaluation} is damaged" in refused(tmp_path, [broken])
    evaluation.write_text(text)

    (broken / "study.journal").write_text("{}\n")
    assert "search.learn_from: cannot read the study in" in refused(tmp_path, [broken])

    (broken / "config.yaml").write_text("name: [")
    assert f"search.learn_from: {broken}/config.yaml is not YAML" in refused(tmp_path, [broken])


def test_a_study_out_of_reach_is_named(runs: Path, tmp_path: Path) -> None:
    far = shutil.copytree(runs / "before", tmp_path / "far")
    config = far / "config.yaml"
    gone = f"sqlite:///{tmp_path}/gone.db"
    text = config.read_text().replace("storage: null", f"storage: {gone}")
    config.write_text(text)

    assert f"search.learn_from: cannot open study storage {gone}" in refused(tmp_path, [far])

    server = "postgresql+psycopg://hwnas@127.0.0.1:1/none"
    config.write_text(text.replace(gone, server))
    line = refused(tmp_path, [far])
    assert f"search.learn_from: cannot open study storage {server}" in line
    assert "check that the database runs" in line


def test_a_run_does_not_learn_from_itself(runs: Path, tmp_path: Path) -> None:
    here = tmp_path / "runs" / "tiny"
    assert f"search.learn_from: {here} is this run itself" in refused(tmp_path, [here])

    url = f"sqlite:///{tmp_path}/studies.db"
    run_search(tiny(search={"storage": url, "trials": 2}), tmp_path / "a")
    with pytest.raises(UserError, match="is this run itself, by its study 'tiny'"):
        run_search(
            learning(tmp_path / "a" / "tiny", search={"storage": url}), tmp_path / "b", join=True
        )


def test_one_run_twice_too_many_or_with_another_sampler_is_refused(
    runs: Path, tmp_path: Path
) -> None:
    before = runs / "before"
    assert f"must name different runs, got {before} twice" in refused(tmp_path, [before, before])
    with pytest.raises(ValueError, match="learn_from must be at most 10 runs, got 11"):
        learning(*(runs / str(at) for at in range(11)))
    with pytest.raises(ValueError, match="sampler must be surrogate where learn_from names runs"):
        learning(before, search={"sampler": "tpe"})


def test_objectives_that_graphs_tell_need_no_earlier_run(runs: Path, tmp_path: Path) -> None:
    line = refused(tmp_path, [runs / "before"], objectives=["macs", "params"])

    assert "a network's graph alone tells all objectives (macs, params); leave it out" in line


def test_a_metric_that_a_run_lacks_is_said_and_the_others_are_learned(
    runs: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    file = learning(
        runs / "before", objectives=["accuracy", "archive_bytes"], search={"trials": 7}
    )

    results = run_search(file, tmp_path, on_note=said.append)

    assert any(line.endswith("it tells nothing of archive_bytes") for line in said)
    assert len(results.searched) == 7
    alone = learning(runs / "before", objectives=["archive_bytes", "macs"])
    with pytest.raises(UserError, match="before tells nothing of archive_bytes; leave it out"):
        run_search(alone, tmp_path / "b")


def test_a_space_that_overlaps_is_learned_from(runs: Path, tmp_path: Path) -> None:
    stage = SPACE["stages"][0] | {"depth": [1, 2, 3], "width": [16, 24, 32]}
    wider = SPACE | {"resolution": [8, 16], "stages": [stage]}

    results = run_search(learning(runs / "before", space=wider), tmp_path)

    assert len(results.searched) == 14
    log = results.run.log_file.read_text()
    assert "left to evolution" not in log
    assert "earlier runs that are heard: " in log


def test_a_single_run_needs_no_list(tmp_path: Path) -> None:
    assert learning().search.learn_from == ()
    file = tiny(search={"sampler": "surrogate", "learn_from": "runs/a"})

    assert file.config().search.learn_from == ("runs/a",)
    assert RunFolder(tmp_path).earlier_runs_file.name == "earlier_runs.json"
