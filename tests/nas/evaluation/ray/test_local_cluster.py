"""A local cluster listens at loopback alone, asks for its token, and leaves nothing behind."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.evaluation.ray.connection import connected
from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import LocalCluster, NodeSize
from nas.evaluation.ray.nodes.local_status import status
from nas.evaluation.ray.nodes.processes import find_processes
from search_spaces.graphs.errors import UserError

pytestmark = [pytest.mark.slow]


def listening(process: psutil.Process) -> list[str]:
    """The addresses that a process listens at."""
    try:
        found = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return []
    return [link.laddr.ip for link in found if link.status == psutil.CONN_LISTEN]


def wait_for_end(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()


def test_every_socket_of_nodes_workers_and_driver_listens_at_loopback(
    two_nodes: LocalCluster,
) -> None:
    with connected("auto"):
        import ray

        pids = ray.get([ray.remote(lambda: os.getpid()).remote() for _ in range(2)])
        ours = [*find_processes(two_nodes.temp), psutil.Process()]
        assert set(pids) <= {process.pid for process in ours}
        heard = {(process.name(), address) for process in ours for address in listening(process)}
    assert {address for _, address in heard} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, heard
    assert {"gcs_server", "raylet", "python"} <= {name for name, _ in heard}


def test_token_and_state_are_readable_by_their_owner_only(two_nodes: LocalCluster) -> None:
    folder = local_cluster.folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(two_nodes.temp.stat().st_mode) == 0o700
    assert stat.S_IMODE(two_nodes.token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(local_cluster.state_file().stat().st_mode) == 0o600
    token = two_nodes.token_file.read_text()
    assert len(token) == 64
    kept = [path for path in folder.rglob("*") if path.is_file() and path != two_nodes.token_file]
    logs = [path for path in two_nodes.temp.rglob("*") if path.is_file()]
    assert logs
    assert not [path for path in kept + logs if token in path.read_text(errors="replace")]


def test_up_says_that_a_cluster_is_up_already_and_how_to_use_it(two_nodes: LocalCluster) -> None:
    result = CliRunner().invoke(app, ["cluster", "up", "--nodes", "3"])
    assert result.exit_code == 0
    assert f"2 nodes is already up at {two_nodes.address}" in result.stdout
    assert "nas search CONFIG --ray auto" in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_status_tells_nodes_resources_and_the_processes_of_raylets(
    two_nodes: LocalCluster,
) -> None:
    shown = CliRunner().invoke(app, ["cluster", "status"]).stdout
    assert two_nodes.address in shown
    assert "device:pi4 1" in shown
    found = json.loads(CliRunner().invoke(app, ["cluster", "status", "--json"]).stdout)
    assert found["head_alive"]
    assert [node["name"] for node in found["nodes"]] == ["node-1", "node-2"]
    assert [node["cpus"] for node in found["nodes"]] == [1, 1]
    for node in found["nodes"]:
        assert psutil.Process(node["raylet_pid"]).name() == "raylet"
    assert two_nodes.token_file.read_text() not in shown + json.dumps(found)


def test_up_and_down_wait_for_nobody_and_say_that_another_is_at_work(
    home_of_its_own: None,
) -> None:
    with local_cluster.alone(), pytest.raises(UserError, match="is at work"):
        local_cluster.stop()


@pytest.mark.cluster
def test_a_killed_node_is_shown_as_dead_and_down_ends_what_it_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    # Like an editor or a search: it has a file of the cluster open, and is none of it.
    cluster, _ = local_cluster.start([NodeSize(1), NodeSize(1)])
    log = next((cluster.temp / "r" / "session_latest" / "logs").glob("raylet*.out"))
    reader = subprocess.Popen(["tail", "-f", str(log)], stdout=subprocess.DEVNULL)
    try:
        os.kill(cluster.raylets["node-2"], signal.SIGKILL)
        wait_for_end(cluster.raylets["node-2"])
        alive = [node["alive"] for node in status(cluster)["nodes"]]
        assert alive == [True, False]
        assert "1 dead" in CliRunner().invoke(app, ["cluster", "up"]).stdout
        [head] = local_cluster.find_named(cluster, "gcs_server")
        os.kill(head, signal.SIGKILL)
        wait_for_end(head)
        shown = CliRunner().invoke(app, ["cluster", "status"])
        assert shown.exit_code == 0
        assert "its head is dead" in shown.stdout
        assert (
            CliRunner().invoke(app, ["cluster", "down"]).stdout.startswith("the cluster is down")
        )
        assert not find_processes(cluster.temp)
        assert not cluster.temp.exists()
        assert reader.poll() is None
        assert "no cluster" in CliRunner().invoke(app, ["cluster", "down"]).stdout
        assert "no cluster" in CliRunner().invoke(app, ["cluster", "status"]).stdout
    finally:
        reader.kill()
        reader.wait()
        local_cluster.stop()


@pytest.mark.cluster
def test_a_node_that_does_not_start_is_one_line_with_its_log_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    before = set(Path(local_cluster.short_folder()).glob("hwnas-*"))
    said = r"node-2 of the cluster did not start \(.+\); see .+\.log"
    try:
        with pytest.raises(UserError, match=said) as caught:
            local_cluster.start([NodeSize(1), NodeSize(1, 0, {"many": 1e20})])
        assert local_cluster.read_state() is None
    finally:
        local_cluster.stop()
    assert "\n" not in str(caught.value)
    made = set(Path(local_cluster.short_folder()).glob("hwnas-*")) - before
    assert not [path for path in made if find_processes(path)]
    assert (local_cluster.folder() / "logs" / "ray").is_dir()


@pytest.mark.cluster
def test_down_ends_a_cluster_whose_start_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    starting = subprocess.Popen(
        [sys.executable, "-m", "nas", "cluster", "up", "--nodes", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (cluster := local_cluster.read_state()) or not find_processes(cluster.temp):
        assert starting.poll() is None
    starting.kill()
    starting.wait()
    local_cluster.stop()
    assert not find_processes(cluster.temp)
    assert local_cluster.read_state() is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--resources", "[1]"], "must be a JSON object of numbers above 0"),
        (["--resources", '{"x": 0}'], "must be a JSON object of numbers above 0"),
        (["--resources", '{"CPU": 2}'], "cannot set CPU; use --cpus-per-node"),
        (["--nodes", "1", "--resources", "{}", "--resources", "{}"], "got 2 for 1 nodes"),
    ],
)
def test_wrong_sizes_are_refused_before_anything_starts(given: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["cluster", "up", *given])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)


def test_a_damaged_state_is_one_line(home_of_its_own: None, two_nodes: LocalCluster) -> None:
    whole = local_cluster.state_file().read_text()
    try:
        local_cluster.state_file().write_text("{")
        with pytest.raises(UserError, match="is damaged"):
            local_cluster.read_state()
    finally:
        local_cluster.state_file().write_text(whole)
    assert local_cluster.read_state() == two_nodes
