"""A search for small archives: estimated for every network, written for the front, compared."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from nas.export.write import export_network
from nas.models.archives.archive import archive_bytes
from nas.models.archives.estimate import estimated_bytes
from nas.problem.run_file import to_yaml
from nas.report.finish import finish_run
from nas.report.page import report_html
from nas.runs.findings.prediction_quality import archive_quality
from nas.runs.findings.trained import stored_trial
from nas.search.change import change_run
from nas.search.dry_run import dry_run
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.tiny import tiny

ASKED: dict[str, Any] = {"objectives": ["accuracy", "archive_bytes"]}
KEY = "archive_bytes"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    results = run_search(tiny(**ASKED), tmp_path_factory.mktemp("runs"))
    finish_run(results)
    return results


def sizes(results: RunResults) -> dict[str, float]:
    """What was estimated for every network, whatever was written since."""
    return {
        t.hash: t.evaluation.estimated_archive_bytes or t.evaluation.values[KEY]
        for t in results.trials
    }


def test_every_network_is_estimated_and_the_front_is_written(searched: RunResults) -> None:
    for trial in searched.trials:
        model = searched.run.load_model(trial.hash)
        assert sizes(searched)[trial.hash] == estimated_bytes(model)
        on_front = trial in searched.front
        assert trial.evaluation.is_archive_estimated == (not on_front)
        if on_front:
            written = len(archive_bytes(stored_trial(searched, trial)))
            assert trial.evaluation.values[KEY] == written
    assert searched.estimated_front == ()
    assert len(searched.front) < len(searched.trials)


def test_the_size_of_the_front_is_that_of_the_exported_file(
    searched: RunResults, tmp_path: Path
) -> None:
    trial = searched.pick("knee")

    report = export_network(searched, trial, tmp_path / "out", ["archive"], measure=False)

    assert report.sizes["model.hwz"] == trial.evaluation.values[KEY]


@pytest.mark.slow
def test_several_workers_find_what_one_process_finds(searched: RunResults, tmp_path: Path) -> None:
    results = run_search(tiny(**ASKED, search={"workers": 2}), tmp_path)

    common = sizes(results).keys() & sizes(searched).keys()
    assert common
    assert all(sizes(results)[key] == sizes(searched)[key] for key in common)
    assert len(results.trials) == 6
    assert results.front
    assert all(not t.evaluation.unsure for t in results.front)


def test_a_search_that_was_stopped_before_the_front_was_written_writes_it_when_resumed(
    searched: RunResults, tmp_path: Path
) -> None:
    results = run_search(tiny(**ASKED), tmp_path)
    for trial in results.front:  # as it was on disk before the end
        old = trial.evaluation
        assert old.estimated_archive_bytes is not None
        path = results.run.evaluation_file(trial.hash)
        data = json.loads(path.read_text())
        data["values"][KEY] = data.pop("estimated_archive_bytes")
        path.write_text(json.dumps(data))
    before = load_results(results.run.path)
    assert before.estimated_front
    assert "the archives of" in report_html(before).lower()

    again = run_search(tiny(**ASKED), tmp_path, resume=True)

    assert again.estimated_front == ()
    assert again.trials == results.trials
    assert sizes(again) == sizes(searched)


def test_a_bound_is_held_against_the_estimate_and_the_front_against_the_file(
    searched: RunResults, tmp_path: Path
) -> None:
    limit = sorted(sizes(searched).values())[2]

    results = run_search(tiny(**ASKED, constraints=[f"{KEY} <= {limit:g}"]), tmp_path)

    assert results.infeasible
    for trial in results.infeasible:
        assert f"{KEY} <= {limit:g} is violated by" in str(trial.evaluation.reason)
        assert trial.evaluation.epochs == 1
    assert all(t.evaluation.values[KEY] <= limit for t in results.feasible)


def test_what_is_only_bounded_is_estimated_too(tmp_path: Path) -> None:
    results = run_search(tiny(constraints=[f"{KEY} <= 1e9"], search={"trials": 2}), tmp_path)

    assert all(t.evaluation.values[KEY] > 0 for t in results.trials)
    assert all(not t.evaluation.is_archive_estimated for t in results.front)


def test_a_search_that_does_not_ask_knows_no_sizes(tmp_path: Path) -> None:
    results = run_search(tiny(search={"trials": 2}), tmp_path)

    assert all(KEY not in t.evaluation.values for t in results.trials)
    text = results.run.evaluation_file(results.trials[0].hash).read_text()
    assert "archive" not in text
    assert "The size of archives is no objective" in report_html(results)


def test_early_stopping_compares_the_size_of_the_weights(tmp_path: Path) -> None:
    training = {"epochs": 4, "batch_size": 30, "device": "cpu"}
    search = {"trials": 8, "early_stopping": {"reduction": 2}}

    results = run_search(tiny(**ASKED, training=training, search=search), tmp_path)

    files = [json.loads(path.read_text()) for path in results.run.rungs.iterdir()]
    rungs = [rung for each in files for rung in each["rungs"]]
    assert rungs
    assert all(rung["values"].keys() == {"accuracy", "size_bytes"} for rung in rungs)
    assert all(KEY in t.evaluation.values for t in results.trials)


def test_a_run_that_asks_later_learns_sizes_from_its_weights_and_trains_nothing(
    searched: RunResults, tmp_path: Path
) -> None:
    said: list[str] = []
    first = run_search(tiny(), tmp_path)
    times = {p.name: p.stat().st_mtime for p in first.run.weights.iterdir()}

    then = run_search(tiny(**ASKED), tmp_path, resume=True, change=True, on_note=said.append)

    assert not any("evaluated again" in line for line in said)
    assert {p.name: p.stat().st_mtime for p in then.run.weights.iterdir()} == times
    assert [t.hash for t in then.trials] == [t.hash for t in first.trials]
    assert all(
        sizes(then)[t.hash] == estimated_bytes(then.run.load_model(t.hash)) for t in then.trials
    )
    assert then.estimated_front == ()


def test_a_network_without_weights_keeps_its_estimate(tmp_path: Path) -> None:
    results = run_search(tiny(**ASKED), tmp_path)
    config = tiny(**ASKED, constraints=[]).config()
    for path in results.run.weights.iterdir():
        path.unlink()

    change_run(results.run, config, ["nothing"], lambda line: None)

    again = load_results(results.run.path)
    assert again.estimated_front == ()
    assert [t.evaluation.values for t in again.trials] == [
        t.evaluation.values for t in results.trials
    ]


def test_front_table_and_report_tell_estimates_from_files(
    searched: RunResults, tmp_path: Path
) -> None:
    path = str(searched.run.path)

    said = nas("front", path, "--csv", "trials.csv", at=tmp_path)
    data = json.loads(nas("front", path, "--json", at=tmp_path))

    assert KEY in said
    assert "~" not in said
    for row in data["front"]:
        assert row["archive_source"] == "written"
        assert row["estimated_archive_bytes"] == sizes(searched)[row["hash"]]
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = {row["hash"]: row for row in csv.DictReader(file)}
    for trial in searched.trials:
        row = rows[trial.hash]
        assert float(row[KEY]) == trial.evaluation.values[KEY]
        assert float(row["estimated_archive_bytes"]) == sizes(searched)[trial.hash]
    quality = archive_quality(searched)
    page = searched.run.report_file.read_text()
    assert quality.mape is not None
    assert f"{100 * quality.mape:.2f} %" in page
    assert f"{len(searched.front)} networks were estimated" in page
    off = len(searched.trials) - len(searched.front)
    assert f"{off} were only estimated" in re.sub(r"\s+", " ", page)


def test_runs_are_compared_by_the_size_of_archives(searched: RunResults, tmp_path: Path) -> None:
    other = run_search(tiny(**ASKED, search={"trials": 3, "seed": 5}, name="other"), tmp_path)

    said = nas("compare", str(searched.run.path), str(other.run.path), at=tmp_path)

    assert "hypervolumes go up to accuracy" in said
    assert KEY in said


def test_the_command_says_what_became_of_estimates(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(tiny(**ASKED, search={"trials": 3})))

    said = nas("search", "run.yaml", at=tmp_path)

    assert re.search(
        r"archive sizes: \d only estimated, \d written; estimates are off by \d+\.\d\d % on", said
    )
    assert "~" in said  # while it searches
    assert "go on with" not in said


def test_a_dry_run_writes_an_archive_too(tmp_path: Path) -> None:
    said: list[str] = []

    dry_run(tiny(**ASKED), say=said.append)

    assert any(re.search(r"archive: [\d,]+ bytes, estimated at [\d,]+", line) for line in said)


@pytest.mark.parametrize(
    "bound", [f"{KEY} <= 10kB", f"{KEY} <= 10 kB", f"{KEY} < 10", f"{KEY} <= inf", "archive <= 1"]
)
def test_a_bound_that_cannot_be_read_is_one_line(bound: str, tmp_path: Path) -> None:
    text = to_yaml(tiny(**ASKED)).replace("constraints: []", f"constraints: ['{bound}']")
    assert bound in text
    (tmp_path / "run.yaml").write_text(text)

    said = nas("search", "run.yaml", at=tmp_path, code=2)

    assert "must read 'metric <= number'" in said or "unknown metric 'archive'" in said
    assert said.count("\n") == 1


def test_a_shared_study_knows_what_was_written(tmp_path: Path) -> None:
    search = {"trials": 3, "storage": f"sqlite:///{tmp_path}/studies.db"}

    results = run_search(tiny(**ASKED, search=search), tmp_path / "a")

    for path in (results.run.path / "evaluations").iterdir():  # as another driver's folder lacks
        path.unlink()
    again = load_results(results.run.path)
    assert [t.evaluation for t in again.front] == [t.evaluation for t in results.front]
    assert all(not t.evaluation.unsure for t in again.front)


def test_metrics_that_do_not_exist_are_told(tmp_path: Path) -> None:
    with pytest.raises((UserError, ValueError), match=KEY):
        tiny(objectives=["accuracy", "archive_size"])
