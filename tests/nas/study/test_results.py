"""Results are read from the run's files, and a trial is picked by what it is good at."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.problem.run_file import to_yaml
from nas.problem.search_problem import load_setting
from nas.runs.evaluation import Evaluation
from nas.runs.folder import create_run
from nas.search.resume import take_up_study
from nas.study.results import RunResults, load_results
from nas.study.status import StatusReader
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import baseline, make_run, run_file

# accuracy, latency_ms, macs of the first trials; the others are dominated.
NUMBERS = (
    {"accuracy": 0.99, "latency_ms": 10.0, "macs": 900.0},
    {"accuracy": 0.95, "latency_ms": 1.0, "macs": 700.0},
    {"accuracy": 0.50, "latency_ms": 0.5, "macs": 800.0},
    {"accuracy": 0.40, "latency_ms": 5.0, "macs": 100.0},
)


def known(number: int, evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, values=dict(evaluation.values) | NUMBERS[min(number, 3)])


@pytest.fixture
def results(tmp_path: Path) -> RunResults:
    return make_run(tmp_path, trials=6, edit=known)


def test_the_front_is_sorted_by_its_first_objective(results: RunResults) -> None:
    assert [trial.number for trial in results.front] == [0, 1, 2]
    assert results.reference == (0.40, 10.0)


@pytest.mark.parametrize(("which", "number"), [("best", 0), ("knee", 1), ("fastest", 2), ("4", 4)])
def test_a_trial_is_picked_by_name_or_number(results: RunResults, which: str, number: int) -> None:
    assert results.pick(which).number == number


@pytest.mark.parametrize(("which", "number"), [("best", 1), ("knee", 1), ("fastest", 2), ("3", 3)])
def test_a_bound_on_latency_leaves_out_what_is_slower(
    results: RunResults, which: str, number: int
) -> None:
    assert results.pick(which, max_latency_ms=5.0).number == number


@pytest.mark.parametrize(
    ("which", "bound", "message"),
    [
        ("quickest", None, "--pick must be best, knee, fastest or a trial's number, got 'quickes"),
        ("-1", None, "--pick must be best, knee, fastest or a trial's number"),
        ("99", None, "has no finished trial 99; its front is 0, 1, 2"),
        ("best", 0.1, "nothing on the front is within 0.1 ms; the fastest takes 0.5 ms"),
        ("0", 2.0, "trial 0 is not within 2.0 ms, it takes 10 ms"),
    ],
)
def test_a_pick_that_does_not_exist_says_what_does(
    results: RunResults, which: str, bound: float | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        results.pick(which, bound)


def test_without_latency_the_fastest_has_the_fewest_macs(tmp_path: Path) -> None:
    def untimed(number: int, evaluation: Evaluation) -> Evaluation:
        values = dict(known(number, evaluation).values)
        del values["latency_ms"]
        return replace(evaluation, values=values, latency=None)

    file = run_file(objectives=("accuracy", "macs"))
    results = make_run(tmp_path, file=file, trials=4, edit=untimed)

    assert results.pick("fastest").number == 3
    for which in ("best", "0"):
        with pytest.raises(UserError, match="a time that this run did not measure"):
            results.pick(which, 5.0)


def test_where_nothing_is_feasible_nothing_can_be_picked(tmp_path: Path) -> None:
    def broken(number: int, evaluation: Evaluation) -> Evaluation:
        return replace(evaluation, status="infeasible", reason="it crashed")

    results = make_run(tmp_path, trials=3, edit=broken)

    assert results.front == ()
    for message in ("best", "knee", "fastest"):
        with pytest.raises(UserError, match="no feasible architecture was found yet"):
            results.pick(message)
    with pytest.raises(UserError, match="no feasible architecture was found yet"):
        _ = results.reference
    assert results.pick("1").number == 1


def test_baselines_are_told_from_what_was_searched(tmp_path: Path) -> None:
    networks = {"small": baseline("small", 4), "large": baseline("large", 32)}

    results = make_run(tmp_path, trials=3, baselines=networks)

    assert [trial.name for trial in results.baselines] == ["small", "large"]
    assert [trial.name for trial in results.searched] == ["trial 2", "trial 3", "trial 4"]


def test_a_configured_reference_is_kept(tmp_path: Path) -> None:
    file = run_file(reference={"latency_ms": 20.0})

    assert make_run(tmp_path, file=file, trials=4, edit=known).reference == (0.40, 20.0)


def test_a_run_that_has_not_begun_has_no_results(tmp_path: Path) -> None:
    run = create_run(tmp_path / "digits", to_yaml(run_file()))

    assert load_results(run.path).trials == ()
    run.journal.touch()
    assert load_results(run.path).trials == ()


def test_reading_a_run_changes_nothing_in_it(results: RunResults) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in results.run.path.rglob("*") if path.is_file()}

    before = content()

    assert load_results(results.run.path).trials == results.trials
    assert content() == before


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "3",
        '{"op_code": 99, "worker_id": "x"}',
        '{"op_code": 4, "worker_id": "x"}',
        '{"op_code": 6, "worker_id": "x"}',
    ],
)
def test_a_bad_line_of_the_journal_is_one_line_in_every_command(line: str, tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=2)
    lines = results.run.journal.read_text().splitlines()
    results.run.journal.write_text("\n".join([*lines, line, lines[-1]]) + "\n")

    refused_by_all(results)


@pytest.mark.parametrize("damage", ["3", "null", '"../x"', '["x"]', "{}"])
def test_a_trial_that_names_no_architecture_is_one_line_in_every_command(
    damage: str, tmp_path: Path
) -> None:
    results = make_run(tmp_path, trials=2)
    text, key = results.run.journal.read_text(), results.trials[0].hash
    results.run.journal.write_text(re.sub(rf'"hash": ?"{key}"', f'"hash": {damage}', text))

    refused_by_all(results)


def refused_by_all(results: RunResults) -> None:
    setting = load_setting(results.config)
    for read in (
        lambda: load_results(results.run.path),
        lambda: StatusReader(results.run.path).read(),
        lambda: take_up_study(results.config, results.run, setting),
    ):
        with pytest.raises(UserError) as caught:
            read()
        assert len(str(caught.value).splitlines()) == 1


def test_what_is_finished_has_all_that_a_front_is_made_of(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=2)
    trial = results.feasible[0]
    values = {k: v for k, v in trial.evaluation.values.items() if k != "accuracy"}
    results.run.replace_evaluation(replace(trial.evaluation, values=values))

    with pytest.raises(UserError, match="has no accuracy; delete that file and go on with"):
        load_results(results.run.path)


def test_a_damaged_configuration_is_named(results: RunResults) -> None:
    results.run.config_file.write_text("name: [")

    with pytest.raises(UserError, match=r"config\.yaml is not YAML"):
        load_results(results.run.path)
