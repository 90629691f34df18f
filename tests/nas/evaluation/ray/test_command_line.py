"""``nas search --ray auto`` as a user runs it: nodes and driver die, and it comes to its end."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.problem.run_file import to_yaml
from nas.study.results import load_results
from tests.nas.evaluation.ray.driving import doubled, heads, told
from tests.nas.evaluation.ray.faults import Record
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.cluster

TRIALS = 40


def nas(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nas", *arguments]


def run(*arguments: str) -> str:
    done = subprocess.run(nas(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_search_whose_node_and_driver_are_killed_has_one_front_and_one_report(
    home_of_its_own: None, tmp_path: Path, digits_file: dict[str, Any], record_property: Record
) -> None:
    file = tiny(data=digits_file, search={"trials": TRIALS}, training={"epochs": 100})
    config, folder = tmp_path / "run.yaml", tmp_path / "tiny"
    config.write_text(to_yaml(file))
    search = ("search", str(config), "--ray", "auto", "--runs", str(tmp_path))
    assert "use it with: nas search CONFIG --ray auto" in run("cluster", "up", "--nodes", "2")
    try:
        state = json.loads(run("cluster", "status", "--json"))
        with (tmp_path / "said").open("w") as said:
            driver = subprocess.Popen(
                nas(*search), stdout=said, stderr=said, start_new_session=True
            )
        wait_until(lambda: (folder / "study.journal").exists() and len(told(folder)) > 3)
        status = json.loads(run("status", str(folder), "--json"))
        assert "Ray cluster" in json.dumps(status)
        os.kill(state["nodes"][1]["raylet_pid"], signal.SIGKILL)
        seen = len(told(folder))
        wait_until(lambda: len(told(folder)) > seen + 2)
        before = told(folder)
        driver.kill()
        driver.wait()
        assert "its search died" in run("status", str(folder))

        run(*search, "--resume")
    finally:
        run("cluster", "down")

    results = load_results(folder)
    hashes = Counter(trial.hash for trial in results.searched)
    record_property("lost", len(before.keys() - told(folder).keys()))
    record_property("doubled", doubled(folder))
    record_property("outcome", "went on with one node; resumed")
    assert len(hashes) == hashes.total() == TRIALS
    assert before.items() <= told(folder).items()
    assert results.num_running == results.num_duplicates == len(results.infeasible) == 0
    assert results.front
    assert (folder / "front.json").exists()
    assert (folder / "report.html").exists()
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert "(raylet)" not in (tmp_path / "said").read_text()


def test_a_head_that_is_killed_ends_the_command_in_one_line(
    home_of_its_own: None, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(data=digits_file, search={"trials": TRIALS}, training={"epochs": 100_000})
    config, folder = tmp_path / "run.yaml", tmp_path / "tiny"
    config.write_text(to_yaml(file))
    run("cluster", "up", "--nodes", "1")
    try:
        with subprocess.Popen(
            nas("search", str(config), "--ray", "auto", "--runs", str(tmp_path)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as driver:
            wait_until(lambda: any((folder / "activity").glob("*.json")))
            kill_head()
            _, wrong = driver.communicate(timeout=PATIENCE_S)
    finally:
        run("cluster", "down")

    assert driver.returncode == 2
    lines = [line for line in wrong.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: the head of the cluster at 127.0.0.1:")


def kill_head() -> None:
    cluster = local_cluster.running()
    assert isinstance(cluster, LocalCluster)
    (head,) = heads(cluster)
    head.kill()
