"""Optuna's dashboard on a run's study: constraints show, nothing can be changed."""

import base64
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.runs.evaluation import Evaluation
from nas.serving.dashboard import ReadOnlyError, ReadOnlyStorage
from nas.study.attributes import is_fully_known
from nas.study.results import RunResults
from nas.study.status import StatusReader
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import make_run, run_file
from tests.waiting import PATIENCE_S

pytest.importorskip("optuna_dashboard")
from nas.serving.dashboard_server import Server, dashboard_app
from nas.serving.sockets import open_socket, url_of

TOKEN = "a-token-for-tests-only"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def some_are_trained(number: int, evaluation: Evaluation) -> Evaluation:
    """Gives every other infeasible network an accuracy, as one that broke its bound afterwards."""
    if evaluation.feasible:
        return evaluation
    if number % 2:
        return replace(evaluation, values=dict(evaluation.values) | {"accuracy": 0.5}, epochs=1)
    return evaluation


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    file = run_file(constraints=["macs >= 60000"], trials=20)
    made = make_run(tmp_path_factory.mktemp("run"), file=file, trials=20, edit=some_are_trained)
    assert made.feasible
    assert made.infeasible
    return made


def storage_of(results: RunResults) -> ReadOnlyStorage:
    reader = StatusReader(results.run.path)
    reader.study()
    assert reader.storage is not None
    metrics = reader.config.objectives
    return ReadOnlyStorage(
        reader.storage,
        reader.config.name,
        [metric.name for metric in metrics],
        lambda trial: is_fully_known(trial, metrics),
    )


@contextmanager
def served(results: RunResults, token: str | None = None) -> Iterator[str]:
    listening = open_socket("127.0.0.1", 0, has_token=token is not None)
    with Server(listening, dashboard_app(storage_of(results), token)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield url_of(listening)
        finally:
            server.shutdown()
            thread.join()


def content(results: RunResults) -> str:
    return sha256(results.run.journal.read_bytes()).hexdigest()


def test_trials_come_with_their_constraints_and_objectives_with_names(results: RunResults) -> None:
    with served(results) as url:
        (study,) = httpx.get(f"{url}/api/studies").json()["study_summaries"]
        found: dict[str, Any] = httpx.get(f"{url}/api/studies/{study['study_id']}").json()
    assert found["objective_names"] == ["accuracy", "latency_ms"]
    infeasible = {t["number"] for t in found["trials"] if any(c > 0 for c in t["constraints"])}
    assert infeasible == {n for trial in results.infeasible for n in trial.numbers}
    assert all(trial["constraints"] for trial in found["trials"])
    front = {number for trial in results.front for number in trial.numbers}
    assert {trial["number"] for trial in found["best_trials"]} == front


def test_what_was_not_trained_has_no_accuracy_of_0(results: RunResults) -> None:
    with served(results) as url:
        (study,) = httpx.get(f"{url}/api/studies").json()["study_summaries"]
        found: dict[str, Any] = httpx.get(f"{url}/api/studies/{study['study_id']}").json()
    unknown = {
        number
        for trial in results.trials
        if "accuracy" not in trial.evaluation.values
        for number in trial.numbers
    }
    assert unknown
    for trial in found["trials"]:
        is_known = trial["number"] not in unknown
        assert trial["state"] == ("Complete" if is_known else "Pruned")
        assert ("values" in trial) == is_known


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/0"),
        ("POST", "/api/studies/0/rename"),
        ("POST", "/api/trials/0/tell"),
        ("PUT", "/api/studies/0/note"),
        ("POST", "/api/studies"),
    ],
)
def test_what_would_change_something_is_refused(
    results: RunResults, method: str, path: str
) -> None:
    before = content(results)
    with served(results) as url:
        answer = httpx.request(method, url + path)
        assert answer.status_code == 405
        assert "changes nothing" in answer.text
        assert httpx.get(f"{url}/api/studies/0").status_code == 200
    assert content(results) == before


def test_its_storage_refuses_to_write(results: RunResults) -> None:
    storage = storage_of(results)
    before = content(results)
    with pytest.raises(ReadOnlyError):
        storage.delete_study(0)
    with pytest.raises(ReadOnlyError):
        storage.set_trial_user_attr(0, "key", 1)
    with pytest.raises(ReadOnlyError):
        storage.create_new_trial(0)
    assert content(results) == before


def test_who_has_no_token_sees_nothing(results: RunResults) -> None:
    with served(results, TOKEN) as url:
        for path in ("/dashboard", "/api/studies", "/static/bundle.js"):
            assert httpx.get(url + path).status_code == 401
            assert httpx.get(url + path, auth=("me", "another-token-than-it")).status_code == 401
        odd = {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()}
        assert httpx.get(f"{url}/api/studies", headers=odd).status_code == 401
        assert httpx.get(f"{url}/api/studies", auth=("me", TOKEN)).status_code == 200
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{url}/api/studies", headers=bearer).status_code == 200


def test_a_page_of_another_site_sees_nothing(results: RunResults) -> None:
    with served(results) as url:
        for host in ("evil.example", "127.0.0.1.nip.io:80", ""):
            answer = httpx.get(f"{url}/api/studies", headers={"Host": host})
            assert answer.status_code == 400
            assert "under this machine's own name" in answer.text
        assert httpx.get(f"{url}/api/studies", headers={"Host": "localhost"}).status_code == 200


def test_other_machines_may_look_only_with_a_token(
    results: RunResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HWNAS_TOKEN", raising=False)
    command = ["dashboard", str(results.run.path), "--host", "0.0.0.0", "--port", "0"]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, UserError)
    assert "needs a token" in str(error)
    assert "\n" not in str(error)


def test_a_port_that_is_taken_is_said_in_one_line(results: RunResults) -> None:
    with open_socket("127.0.0.1", 0, has_token=False) as taken:
        command = ["dashboard", str(results.run.path), "--port", str(taken.getsockname()[1])]
        error = CliRunner().invoke(app, command).exception
    assert isinstance(error, UserError)
    assert "choose another with --port" in str(error)


def test_a_missing_extra_is_said_in_one_line(
    results: RunResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna_dashboard", None)
    monkeypatch.delitem(__import__("sys").modules, "nas.serving.dashboard_server")
    error = CliRunner().invoke(app, ["dashboard", str(results.run.path)]).exception
    assert isinstance(error, UserError)
    assert "pip install '.[dashboard]'" in str(error)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the dashboard with")
def test_a_browser_shows_feasible_and_infeasible_trials_apart(
    results: RunResults, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    with served(results) as url:
        answer = subprocess.run(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=1300,1100",
                "--virtual-time-budget=15000",
                "--dump-dom",
                f"{url}/dashboard/studies/0",
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
    points = re.findall(r'<path class="point"[^>]*style="([^"]*)"', answer.stdout)
    colours = [m[1] for style in points if (m := re.search(r"fill: (rgb\([^)]*\))", style))]
    grey = "rgb(204, 204, 204)"  # what the dashboard draws infeasible trials in
    known = [t for t in results.infeasible if "accuracy" in t.evaluation.values]
    assert known
    assert colours.count(grey) >= sum(len(trial.numbers) for trial in known)
    assert set(colours) - {grey}
