"""``nas suggest`` shows networks that were not tried, and writes what a search evaluates next."""

import csv
import json
import re
from pathlib import Path

import pytest

from nas.problem.run_file import to_yaml
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from tests.nas.parts.command_line import nas
from tests.nas.parts.imports import heavy_imports
from tests.nas.parts.runs import make_run, run_file
from tests.nas.parts.tiny import tiny


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return make_run(tmp_path_factory.mktemp("runs"), trials=30, file=run_file(trials=30))


def test_a_table_tells_what_each_is_expected_to_be_and_how_to_go_on(
    results: RunResults, tmp_path: Path
) -> None:
    said = nas("suggest", str(results.run.path), "--count", "4", at=tmp_path).splitlines()

    assert said[0] == f"suggestions for {results.run.path}"
    heads = (
        "accuracy",
        "latency_ms",
        "macs",
        "params",
        "joins the front",
        "nearest",
        "differs in",
    )
    assert [head for head in heads if head not in said[1]] == []
    assert [line.split()[0] for line in said[2:6]] == ["1", "2", "3", "4"]
    assert all(line.count("±") == 2 and "trial " in line for line in said[2:6])
    assert said[6] == "learned from 30 trials, of which none is among them"
    shares = r"\d+ % of 10 trials for validation accuracy and \d+ % of 10 trials for latency"
    widened = r"(; so they are widened [\d.]+ times for .*)?"
    assert re.fullmatch(
        rf"± is one doubt: .* within it; so far, .*, were {shares}{widened}", said[7]
    )
    assert said[8] == (
        f"to evaluate them: nas suggest {results.run.path} --save suggested, then nas search "
        f"{results.run.config_file} --runs {results.run.path.parent} --enqueue suggested --resume"
    )


def test_json_and_csv_have_the_same_networks(results: RunResults, tmp_path: Path) -> None:
    words = ("suggest", str(results.run.path), "--json", "--csv", "s.csv")

    data = json.loads(nas(*words, at=tmp_path))

    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert [row["hash"] for row in rows] == [each["hash"] for each in data["suggestions"]]
    assert [float(row["accuracy"]) for row in rows] == [
        each["expected"]["accuracy"]["value"] for each in data["suggestions"]
    ]


def test_what_is_saved_is_what_a_search_evaluates_first(tmp_path: Path) -> None:
    file = tiny(search={"trials": 14})
    (tmp_path / "run.yaml").write_text(to_yaml(file))
    run_search(file, tmp_path / "runs")

    nas("suggest", "runs/tiny", "--count", "2", "--save", "next", at=tmp_path)
    names = sorted(path.stem for path in (tmp_path / "next").iterdir())
    nas("search", "run.yaml", "--resume", "--enqueue", "next", at=tmp_path)

    added = load_results(tmp_path / "runs" / "tiny").trials[14:]
    assert [f"{n:03d}_{trial.hash}" for n, trial in enumerate(added, start=1)] == names


def test_what_cannot_be_learned_from_is_one_line(tmp_path: Path) -> None:
    few = make_run(tmp_path, trials=4, file=run_file("few"))
    none = make_run(tmp_path, trials=0, file=run_file("none"))
    damaged = make_run(tmp_path, trials=12, file=run_file("damaged"))
    key = damaged.trials[3].hash
    damaged.run.evaluation_file(key).write_text("{")

    takes = "too little to learn from: it takes 10 finished trials of the space, there are"
    for run, why in ((few, f"{takes} 4"), (none, f"{takes} none")):
        said = nas("suggest", str(run.run.path), at=tmp_path, code=2)
        assert said == f"error: {run.run.path}: {why}\n"
    said = nas("suggest", str(damaged.run.path), at=tmp_path, code=2)
    assert f"{key}.json" in said
    assert said.count("\n") == 1
    said = nas("suggest", "nowhere", at=tmp_path, code=2)
    assert said.startswith("error: nowhere ")
    assert said.count("\n") == 1
    said = nas("suggest", str(few.run.path), "--count", "0", at=tmp_path, code=2)
    assert "--count must be from 1 to 200, got 0" in said


def test_status_tells_what_the_next_trials_may_bring(results: RunResults, tmp_path: Path) -> None:
    run = str(results.run.path)

    (line,) = (s for s in nas("status", run, at=tmp_path).splitlines() if s.startswith("next "))
    data = json.loads(nas("status", run, "--json", at=tmp_path))

    gain = data["outlook"]["gain"]
    assert gain > 0
    assert line.startswith(f"next 20 trials: expected to add {100 * gain:.2g} % to the hyper")
    assert "as a surrogate believes that learned from 30 trials; of the last 20 it would" in line
    assert line.endswith(f" and {100 * data['outlook']['check']['found']:.2g} % came")
    assert data["without_gain"] == results.without_gain
    assert "outlook" not in json.loads(nas("status", run, "--json", "--no-outlook", at=tmp_path))
    assert "\nnext " not in nas("status", run, "--no-outlook", at=tmp_path)


def test_status_says_why_there_is_no_outlook(tmp_path: Path) -> None:
    few = make_run(tmp_path, trials=4, file=run_file("few"))

    said = nas("status", str(few.run.path), at=tmp_path)

    assert "next trials: no estimate of what they bring (too little to learn from: it " in said
    data = json.loads(nas("status", str(few.run.path), "--json", at=tmp_path))
    assert data["outlook"]["reason"].startswith("too little to learn from")


@pytest.mark.slow
def test_no_torch_is_needed(results: RunResults, tmp_path: Path) -> None:
    for command in ("suggest", "status"):
        _, heavy = heavy_imports(command, str(results.run.path), at=tmp_path)
        assert not {"torch", "tvm", "sklearn", "onnx", "onnxruntime", "plotly"} & set(heavy)
