"""Several drivers search in one study: nothing is lost, doubled, or more than was asked for."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from nas.problem.run_file import RunFile, to_yaml
from nas.report.finish import finish_run
from nas.runs.folder import RunFolder
from nas.runs.lock import is_locked
from nas.search.run import run_search
from nas.study.names import DRIVER, HASH
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage, remember_password
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.postgres import SECRET, Postgres, postgres_server
from tests.nas.parts.searches import driving, ended_well, wait_for
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S, wait_until

Record = Callable[[str, object], None]  # pytest's record_property


@pytest.fixture(params=["postgresql", "journal"])
def study_url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:  # noqa: ANN401
    if request.param == "journal":
        yield f"journal:{tmp_path}/shared.journal"
    else:
        with postgres_server() as server:
            remember_password(server.url)
            yield server.url


def all_trials(results: RunResults) -> list[FrozenTrial]:
    storage = open_storage(results.config.search.storage, results.run.journal)
    (study,) = storage.get_all_studies()
    return storage.get_all_trials(study._study_id)


def check_whole(results: RunResults, trials: int) -> None:
    """So many were found, each once, and nothing is left under way."""
    complete = [t for t in all_trials(results) if t.state == TrialState.COMPLETE]
    assert len(results.searched) == len({trial.hash for trial in results.searched}) == trials
    assert len({t.user_attrs[HASH] for t in complete}) == len(complete)
    assert results.num_running == 0


def recorded(record: Record, results: RunResults, wanted: int, outcome: str) -> None:
    """Checks a run whose driver or database had died, and records what came of it."""
    check_whole(results, wanted)
    complete = [t for t in all_trials(results) if t.state == TrialState.COMPLETE]
    record("lost", wanted - len(results.searched))
    record("doubled", len(complete) - len({t.user_attrs[HASH] for t in complete}))
    record("outcome", outcome)


def drivers_of(results: RunResults) -> set[str]:
    told = [t for t in all_trials(results) if t.state == TrialState.COMPLETE]
    return {trial.user_attrs[DRIVER] for trial in told}


def front(results: RunResults) -> list[tuple[object, ...]]:
    return [(trial.number, trial.hash, trial.evaluation) for trial in results.front]


def shared_file(digits_file: dict[str, Any], url: str | None, **changes: Any) -> RunFile:  # noqa: ANN401
    given: dict[str, Any] = {
        "data": digits_file,
        "search": {"trials": 10, "storage": url},
        "training": {"epochs": 150},
        "baselines": ["lenet_300_100"],
    }
    return tiny(**(given | changes))


@pytest.mark.cluster
def test_the_driver_that_is_left_finishes_what_two_machines_began(
    study_url: str, tmp_path: Path, digits_file: dict[str, Any], record_property: Record
) -> None:
    file = shared_file(digits_file, study_url)
    with driving(tmp_path / "a", file, "new") as first:
        wait_for(first, "trial")
        with driving(tmp_path / "b", file, "join") as second:
            wait_for(second, "trial")
            first.kill()
            ended_well(second)

    here, there = load_results(tmp_path / "b" / "tiny"), load_results(tmp_path / "a" / "tiny")
    recorded(record_property, here, 10, "the other driver took over its trials")
    assert len(drivers_of(here)) == 2
    assert front(here) == front(there)
    assert not is_locked(there.run)
    foreign = next(t for t in here.trials if not here.run.weights_file(t.hash).exists())
    assert here.run.load_architecture(foreign.hash) == there.run.load_architecture(foreign.hash)
    with pytest.raises(UserError, match=r"was trained on .*, which has its weights; do this with"):
        here.run.load_model(foreign.hash)
    before = sorted(here.run.path.rglob("*"))
    load_results(here.run.path)
    assert sorted(here.run.path.rglob("*")) == before
    finish_run(here)
    assert here.run.report_file.exists()


@pytest.mark.cluster
def test_two_drivers_share_a_folder_and_a_third_is_refused(
    tmp_path: Path, digits_file: dict[str, Any], record_property: Record
) -> None:
    file = shared_file(digits_file, None, training={"epochs": 300})
    with driving(tmp_path, file, "new") as first:
        wait_for(first, "start")
        for resume in (False, True):
            with pytest.raises(UserError, match=r"is being searched by process.*join it with"):
                run_search(file, tmp_path, resume=resume)
        with driving(tmp_path, file, "join") as second:
            wait_for(second, "trial")
            second.kill()
            assert is_locked(RunFolder(tmp_path / "tiny"))
            ended_well(first)

    results = load_results(tmp_path / "tiny")
    recorded(record_property, results, 10, "refused; joined with --join, and outlived")
    assert len(drivers_of(results)) == 2
    assert not is_locked(results.run)
    assert {path.stem for path in (results.run.path / "evaluations").iterdir()} == {
        trial.hash for trial in results.trials
    }


@pytest.mark.slow
def test_the_one_that_joined_finishes_where_the_first_is_killed(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = shared_file(digits_file, None)
    with driving(tmp_path, file, "new") as first:
        wait_for(first, "trial")
        with driving(tmp_path, file, "join") as second:
            wait_for(second, "trial")
            first.kill()
            ended_well(second)

    check_whole(load_results(tmp_path / "tiny"), 10)


@pytest.mark.cluster
def test_a_driver_that_stood_still_tells_nothing_twice(
    tmp_path: Path, digits_file: dict[str, Any], record_property: Record
) -> None:
    file = shared_file(digits_file, f"journal:{tmp_path}/shared.journal")
    with driving(tmp_path / "a", file, "new") as first:
        wait_for(first, "trial")
        with driving(tmp_path / "b", file, "join") as second:
            wait_for(second, "trial")
            os.kill(first.pid, signal.SIGSTOP)
            wait_for(second, "end")
            os.kill(first.pid, signal.SIGCONT)
            ended_well(first)
            ended_well(second)

    here, there = load_results(tmp_path / "b" / "tiny"), load_results(tmp_path / "a" / "tiny")
    recorded(record_property, here, 10, "its trials were taken over; it told nothing twice")
    assert front(here) == front(there)


@pytest.mark.cluster
def test_a_database_that_is_killed_and_started_again_costs_nothing(
    tmp_path: Path, digits_file: dict[str, Any], record_property: Record
) -> None:
    with postgres_server() as server:
        file = shared_file(digits_file, server.url, search={"trials": 6, "storage": server.url})
        with driving(tmp_path, file, "new") as process:
            wait_for(process, "trial", 2)
            server.kill()
            sleep(1)
            server.start()
            ended_well(process)

        remember_password(server.url)
        results = load_results(tmp_path / "tiny")
        recorded(record_property, results, 6, "waited for, and went on")
        log = results.run.log_file.read_text()
        assert log.count("does not answer") == log.count("answers again after") >= 1
        assert no_file_holds(SECRET, results.run.path)


@pytest.mark.cluster
def test_a_database_that_stays_away_ends_the_search_in_one_line(
    tmp_path: Path, digits_file: dict[str, Any], record_property: Record
) -> None:
    with postgres_server() as server:
        file = shared_file(digits_file, server.url, search={"trials": 5, "storage": server.url})
        with driving(tmp_path, file, "new", storage_limit_s=1) as process:
            wait_for(process, "trial")
            server.kill()
            _, wrong = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 1
        assert len(wrong.splitlines()) == 1
        assert wrong.startswith(
            "refused: the study's storage postgresql+psycopg://hwnas@127.0.0.1"
        )
        assert "it was tried for" in wrong
        assert wrong.endswith("go on with --resume\n")

        server.start()
        with driving(tmp_path, file, "resume") as process:
            ended_well(process)

        remember_password(server.url)
        results = load_results(tmp_path / "tiny")
        recorded(record_property, results, 5, "ended in one line; resumed")


def no_file_holds(secret: str, folder: Path) -> bool:
    assert len(secret) > 5
    return not any(
        secret.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.slow
def test_no_byte_of_a_run_holds_the_password_and_a_resumed_run_may_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres_server() as server:
        secret = SECRET
        results = run_search(tiny(search={"storage": server.url, "trials": 2}), tmp_path)
        finish_run(results)

        assert no_file_holds(secret, results.run.path)
        attributes = open_study_attributes(server)
        assert secret not in attributes
        address = server.url.replace(f":{secret}", "")
        assert address in results.run.config_file.read_text()
        monkeypatch.setenv("PGPASSWORD", secret)
        again = run_search(tiny(search={"storage": address, "trials": 3}), tmp_path, resume=True)
        check_whole(again, 3)
        wrong = server.url.replace(secret, "wrong")
        with pytest.raises(UserError, match=r"check that the user and password are right") as told:
            run_search(tiny(search={"storage": wrong, "trials": 3}), tmp_path, resume=True)
        assert len(str(told.value).splitlines()) == 1
        remember_password(server.url)


@pytest.mark.slow
def test_the_command_line_writes_no_password_and_takes_it_from_the_environment(
    tmp_path: Path, digits_file: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = tmp_path / "tiny.yaml", tmp_path / "runs" / "tiny"
    config.write_text(to_yaml(tiny(data=digits_file, search={"trials": 2})))
    with postgres_server() as server:
        said = nas("search", str(config), "--study-url", server.url, at=tmp_path)
        assert no_file_holds(SECRET, run)
        assert SECRET not in said
        forget_passwords(monkeypatch)
        known = {"PGPASSWORD": SECRET}
        assert "2 of 2 architectures" in nas("status", str(run), at=tmp_path, environment=known)
        forget_passwords(monkeypatch)
        without = nas("status", str(run), at=tmp_path, code=2)
        assert "in PGPASSWORD or in ~/.pgpass" in " ".join(without.split())


def forget_passwords(patch: pytest.MonkeyPatch) -> None:
    """As a new process knows none that another was given."""
    patch.setattr("nas.study.storages._given", {})


def open_study_attributes(server: Postgres) -> str:
    storage = open_storage(server.url, Path("unused"))
    (study,) = storage.get_all_studies()
    return str(study.user_attrs) + str(storage.get_all_trials(study._study_id))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"epochs": 2}}, r"config\.training\.epochs: 1 -> 2"),
        ({"data": {"seed": 1}}, r"data\.train: '\w+' -> '\w+'"),
        ({"search": {"seed": 3}}, r"config\.search\.seed: 0 -> 3"),
    ],
)
def test_who_searches_on_other_terms_may_not_join(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    url = f"journal:{tmp_path}/shared.journal"
    run_search(tiny(search={"storage": url, "trials": 2}), tmp_path / "a")
    changes["search"] = changes.get("search", {}) | {"storage": url}

    with pytest.raises(UserError, match=rf"is searched on other terms \({message}") as told:
        run_search(tiny(**changes), tmp_path / "b", join=True)

    assert len(str(told.value).splitlines()) == 1


def test_who_joins_goes_on_with_what_others_found(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/shared.journal"
    first = run_search(tiny(search={"storage": url, "trials": 3}), tmp_path / "a")

    results = run_search(tiny(search={"storage": url, "trials": 5}), tmp_path / "b", join=True)

    check_whole(results, 5)
    assert results.trials[:3] == first.trials
    evaluated = {path.stem for path in (results.run.path / "evaluations").iterdir()}
    assert evaluated == {trial.hash for trial in results.trials[3:]}
    with pytest.raises(UserError, match=r"of another run; .*or take part in it with --join"):
        run_search(tiny(search={"storage": url, "trials": 5}), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_one_may_join_before_there_is_anything_to_join(tmp_path: Path) -> None:
    check_whole(run_search(tiny(search={"trials": 3}), tmp_path, join=True), 3)


def test_a_shared_journal_that_ends_in_the_middle_of_a_line_is_mended(tmp_path: Path) -> None:
    journal = tmp_path / "shared.journal"
    file = tiny(search={"storage": f"journal:{journal}", "trials": 2})
    run_search(file, tmp_path)
    with journal.open("ab") as half:
        half.write(b'{"op_code":5,"worker_id":"a3')

    more = tiny(search={"storage": f"journal:{journal}", "trials": 3})
    check_whole(run_search(more, tmp_path, resume=True), 3)


@pytest.mark.slow
def test_who_waits_for_others_can_be_interrupted(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = shared_file(
        digits_file,
        f"journal:{tmp_path}/shared.journal",
        search={"trials": 1, "storage": f"journal:{tmp_path}/shared.journal"},
        training={"epochs": 100_000},
        baselines=[],
    )
    with driving(tmp_path / "a", file, "new") as first:
        wait_for(first, "start")
        wait_until(lambda: "started" in (tmp_path / "a" / "tiny" / "run.json").read_text())
        sleep(1)
        with driving(tmp_path / "b", file, "join") as second:
            wait_for(second, "start")
            sleep(2)
            assert second.poll() is None
            os.kill(second.pid, signal.SIGINT)
            ended_well(second)
