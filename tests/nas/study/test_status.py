"""How far a run is can be told while it is searched, after its driver died, and from outside."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

from latency_models.devices.latency import Latency
from nas.cli import app
from nas.problem.run_file import RunFile, to_yaml
from nas.runs.activity import Activity, Task, new_driver, now, read_activities
from nas.runs.evaluation import Evaluation
from nas.runs.files import write_json
from nas.runs.folder import RunFolder, create_run
from nas.runs.lock import lock_run
from nas.study.names import BEAT, DRIVER
from nas.study.pace import pace_of
from nas.study.results import RunResults, load_results
from nas.study.status import StatusReader, cause_of
from search_spaces.graphs.errors import UserError
from tests.nas.parts.latencies import measured, predicted
from tests.nas.parts.runs import make_run, open_run_study, run_file
from tests.nas.parts.tiny import tiny
from tests.nas.search.test_faults import searching, wait_for

HOST = new_driver().rsplit("-", 2)[0]
DEAD = "2025-01-01T00:00:00+00:00"


def said(*command: str) -> str:
    answer = CliRunner().invoke(app, list(command), catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.output


def with_failures(number: int, evaluation: Evaluation) -> Evaluation:
    """Every third candidate's worker died, every third had no finite loss."""
    reasons = {
        1: f"its worker process died {number} times (out of memory, or killed)",
        2: f"training diverged in epoch {number}",
    }
    if number % 3 not in reasons:
        return evaluation
    return replace(evaluation, status="infeasible", reason=reasons[number % 3])


def leave_running(run: RunFolder, results: RunResults, driver: str, written: str) -> None:
    """Leaves two trials under way, as a driver does that writes no more."""
    study = open_run_study(run, results.config)
    for _ in range(2):
        study.ask().set_user_attr(DRIVER, driver)
    tasks = tuple(Task(f"h{n}", f"trial {n}", "training", "", written) for n in (12, 13))
    activity = Activity(driver, "2 processes", 2, tasks, (), written)
    write_json(run.activity / f"{driver}.json", asdict(activity))


def test_failures_are_counted_by_cause(tmp_path: Path) -> None:
    results = make_run(tmp_path, edit=with_failures)
    status, _ = StatusReader(results.run.path).read()
    assert status.counts.infeasible == 8
    assert dict(status.failures) == {
        "its worker process died (out of memory, or killed)": 4,
        "training diverged in epoch N": 4,
    }
    assert status.front == len(results.front)
    assert [best.objective for best in status.best] == ["accuracy", "latency_ms"]
    shown = said("status", str(results.run.path))
    assert "4  its worker process died" in shown
    assert "12 of 12 architectures" in shown


@pytest.mark.parametrize(
    ("violations", "latency", "cause"),
    [
        ({"latency_ms <= 2": 0.7}, measured(3.4), "latency_ms <= 2 is violated"),
        ({"latency_ms <= 2": 0.1}, predicted(2.2), "latency_ms <= 2 is likely violated"),
        (
            {"macs <= 1e+06": 1.0, "latency_ms <= 2": -0.5, "params <= 500": 0.6},
            predicted(1.0),
            "macs <= 1e+06 is violated; params <= 500 is violated",
        ),
        ({"macs <= 1e+06": -0.5}, None, "training diverged in epoch N"),
    ],
)
def test_the_cause_is_which_constraints_are_broken_or_the_reason_without_numbers(
    violations: dict[str, float], latency: Latency | None, cause: str
) -> None:
    rules = ["macs <= 1e6", "latency_ms <= 2", "params <= 500"]
    reason = "training diverged in epoch 3"
    evaluation = Evaluation("h", "infeasible", reason, {}, violations, latency)

    assert cause_of(tiny(constraints=rules).config(), evaluation) == cause


def test_of_a_driver_that_died_it_is_said_when_and_at_what(tmp_path: Path) -> None:
    results = make_run(tmp_path, file=run_file(trials=20))
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    leave_running(results.run, results, f"{HOST}-{process.pid}-0a1b2c3d", DEAD)

    status, _ = StatusReader(results.run.path).read()
    assert (status.state, status.counts.abandoned, status.counts.under_way) == ("died", 2, 0)
    shown = said("status", str(results.run.path))
    assert f"died after {DEAD}; 2 trials were under way: trial 12 training" in shown
    again = f"nas search {results.run.config_file} --runs {results.run.path.parent} --resume"
    assert f"go on with: {again}" in shown.replace("\n", "")


def test_trials_of_a_living_driver_elsewhere_are_under_way(tmp_path: Path) -> None:
    results = make_run(tmp_path, file=run_file(trials=20))
    leave_running(results.run, results, "elsewhere-7-0a1b2c3d", now())
    status, _ = StatusReader(results.run.path).read()
    assert (status.state, status.counts.under_way) == ("searching", 2)
    assert "2 processes, 2 of 2 slots busy at " in said("status", str(results.run.path))


def beat_elsewhere(run: RunFolder, results: RunResults, beat: int) -> None:
    open_run_study(run, results.config).set_user_attr(f"{BEAT}vm-7-0a1b2c3d", beat)


def test_of_a_driver_with_another_run_folder_no_more_is_said_than_is_known(tmp_path: Path) -> None:
    results = make_run(tmp_path, file=run_file(trials=20))
    open_run_study(results.run, results.config).ask().set_user_attr(DRIVER, "vm-7-0a1b2c3d")
    beat_elsewhere(results.run, results, 7)

    reader = StatusReader(results.run.path)
    first, _ = reader.read()
    shown = said("status", str(results.run.path))
    beat_elsewhere(results.run, results, 8)
    second, _ = reader.read()

    assert (first.counts.distant, first.counts.under_way, first.counts.abandoned) == (1, 0, 0)
    assert [distant.is_alive for distant in first.elsewhere] == [None]
    assert "of drivers elsewhere 1" in shown
    assert "not known from here whether it is alive ('nas status --watch'" in shown
    assert (second.counts.distant, second.counts.under_way) == (0, 1)
    assert [distant.is_alive for distant in second.elsewhere] == [True]
    assert first.state == second.state == "not running"
    with lock_run(results.run):
        locked, _ = StatusReader(results.run.path).read()
    assert (locked.state, locked.counts.distant, locked.counts.under_way) == ("searching", 1, 0)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    before = {p: sha256(p.read_bytes()).digest() for p in tmp_path.rglob("*") if p.is_file()}
    said("status", str(results.run.path), "--json")
    after = {p: sha256(p.read_bytes()).digest() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p: after[p] for p in before} == before
    assert {p.name for p in after.keys() - before.keys()} <= {"run.lock"}


def test_json_holds_all_of_it(tmp_path: Path) -> None:
    results = make_run(tmp_path, edit=with_failures)
    data = json.loads(said("status", str(results.run.path), "--json"))
    assert data["counts"]["finished"] == 4
    assert data["failures"][0]["count"] == 4
    assert data["state"] == "finished"


def test_watching_a_run_that_nobody_searches_ends_at_once(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    lines = said("status", str(results.run.path), "--watch").splitlines()
    assert len(lines) == 1
    assert "finished, 12 of 12 architectures" in lines[0]


def test_a_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hidden@127.0.0.1:1/none"
    file = run_file(search={"trials": 2, "storage": url.replace(":hidden", "")})
    run = create_run(tmp_path / "run", to_yaml(file))
    with pytest.raises(UserError) as caught:
        StatusReader(run.path).read()
    assert "\n" not in str(caught.value)
    assert "check that the database runs" in str(caught.value)


@pytest.mark.parametrize("command", ["status", "front", "report", "dashboard"])
def test_a_database_file_that_is_gone_is_one_line_and_none_is_made(
    command: str, tmp_path: Path
) -> None:
    gone = tmp_path / "studies" / "gone.db"
    gone.parent.mkdir()
    file = run_file(search={"trials": 2, "storage": f"sqlite:///{gone}"})
    run = create_run(tmp_path / "run", to_yaml(file))

    with pytest.raises(UserError, match=r"gone.db does not exist; check that the path") as said:
        CliRunner().invoke(app, [command, str(run.path)], catch_exceptions=False)

    assert "\n" not in str(said.value)
    assert list(gone.parent.iterdir()) == []


def trial(number: int, start: datetime, minutes: float | None) -> optuna.trial.FrozenTrial:
    done = minutes is not None
    made = optuna.trial.create_trial(
        state=TrialState.COMPLETE if done else TrialState.RUNNING, value=0.0 if done else None
    )
    made.number = number
    made.datetime_start = start
    made.datetime_complete = start + timedelta(minutes=minutes) if minutes is not None else None
    return made


def test_time_in_which_nobody_searched_does_not_count() -> None:
    begin = datetime(2025, 1, 1)
    days = [begin + timedelta(days=day, minutes=m) for day in (0, 1) for m in range(5)]
    trials = [trial(n, start, 1.0) for n, start in enumerate(days)]
    pace = pace_of(trials, [], days[-1] + timedelta(days=7))
    assert pace.overall == pytest.approx(1.0)
    assert pace.recent == pytest.approx(1.0)
    assert pace.seconds_for(3) == pytest.approx(180.0)


def test_the_pace_is_unknown_before_two_trials_and_falls_while_one_takes_long() -> None:
    begin = datetime(2025, 1, 1)
    first, second = trial(0, begin, 1.0), trial(1, begin + timedelta(minutes=1), 1.0)
    assert pace_of([first], [], begin).seconds_for(2) is None
    third = trial(2, begin + timedelta(minutes=2), None)
    late = begin + timedelta(minutes=11)
    slow = pace_of([first, second], [third], late).recent
    fast = pace_of([first, second], [], late).recent
    assert slow is not None
    assert fast is not None
    assert slow < fast


@pytest.fixture
def long_search() -> RunFile:
    return tiny(training={"epochs": 60, "batch_size": 64, "device": "cpu"}, search={"trials": 50})


@pytest.mark.slow
def test_a_search_is_watched_from_outside_until_it_is_killed(
    tmp_path: Path, long_search: RunFile
) -> None:
    run = RunFolder(tmp_path / long_search.name)
    with searching(tmp_path, long_search) as search:
        wait_for(search, "1")
        alive, _ = StatusReader(run.path).read()
        command = [sys.executable, "-m", "nas", "status", str(run.path), "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            first = watch.stdout.readline()
            search.kill()
            search.wait()
            rest = watch.stdout.read()
            assert watch.wait() == 0
    assert (alive.state, alive.counts.abandoned) == ("searching", 0)
    assert alive.drivers[0].activity.place == "this process"
    assert ": searching, " in first
    assert ": died, " in (rest or first)
    dead, _ = StatusReader(run.path).read()
    assert dead.state == "died"
    assert not dead.drivers[0].alive
    assert len(read_activities(run)) == 1
    assert load_results(run.path).num_running == dead.counts.abandoned
