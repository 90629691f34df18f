"""Connections work or say in one line why not, soon, and leave this process as it was."""

import os
import platform
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import psutil
import pytest

from nas.evaluation.ray.connection import (
    ClusterAddress,
    check_is_here,
    check_versions,
    connected,
    find,
    runtime_env,
    users_access,
)
from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.evaluation.ray.nodes.probe import ask_head
from nas.evaluation.ray.nodes.ray_private import for_ray
from nas.evaluation.ray.nodes.sources import source_root
from search_spaces.graphs.errors import UserError

pytestmark = [pytest.mark.slow]


@pytest.fixture
def no_local_cluster(
    two_nodes: LocalCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cluster runs, and this user knows nothing of it."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def refusal(address: str) -> str:
    with pytest.raises(UserError) as caught, connected(address):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextmanager
def silent_server() -> Iterator[str]:
    """Listens, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_auto_is_the_local_cluster_and_this_process_is_left_as_it_was(
    two_nodes: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with connected("auto") as cluster:
            assert cluster.address == two_nodes.address
            assert cluster.where == f"local cluster of 2 nodes at {two_nodes.address}"
            assert {node.name for node in cluster.nodes} == {"node-1", "node-2"}
            assert cluster.this_node_id in {node.node_id for node in cluster.nodes}
            assert ray.get_runtime_context().namespace == "hwnas"
            where = ray.get(ray.remote(lambda: __import__("nas").__file__).remote())
            assert Path(where).parents[1] == source_root()
        assert not ray.is_initialized()
        assert dict(os.environ) == before
        assert signal.getsignal(signal.SIGTERM) == handler
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("no_local_cluster")
def test_a_cluster_of_the_users_own_is_reached_with_the_users_token(
    two_nodes: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(two_nodes.token_file))
    with connected(two_nodes.address) as cluster:
        assert len(cluster.nodes) == 2
        assert cluster.where == f"Ray cluster at {two_nodes.address}"
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_TOKEN", two_nodes.token_file.read_text())
    monkeypatch.setenv("RAY_ADDRESS", two_nodes.address)
    with connected("auto") as cluster:
        assert cluster.address == two_nodes.address


@pytest.mark.usefixtures("no_local_cluster")
def test_a_wrong_or_missing_token_is_one_line_that_does_not_tell_it(
    two_nodes: LocalCluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "refuses the token" in refusal(two_nodes.address)
    wrong = secrets.token_hex(32)
    monkeypatch.setenv("RAY_AUTH_TOKEN", wrong)
    said = refusal(two_nodes.address)
    assert "refuses the token; set RAY_AUTH_TOKEN_PATH" in said
    assert wrong not in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("home_of_its_own")
def test_an_address_where_nothing_listens_is_named_with_what_to_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = refusal(f"127.0.0.1:{port}")
    assert f"cannot reach a Ray cluster at 127.0.0.1:{port} (tried for 5 s" in said
    assert "check that its head runs" in said
    assert "cannot reach" in refusal("no-such-host.invalid:6379")


@pytest.mark.usefixtures("home_of_its_own")
@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1", "127.0.0.1:port", "1.2.3.4:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "--ray: an address must be HOST:PORT" in refusal(address)


@pytest.mark.usefixtures("home_of_its_own")
def test_what_listens_and_is_no_ray_head_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.evaluation.ray.nodes.probe.ANSWER_LIMIT_S", 2.0)
    with silent_server() as address:
        assert "does not answer as a Ray head (tried for 2 s)" in refusal(address)


@pytest.mark.usefixtures("home_of_its_own")
def test_a_server_of_another_kind_is_no_ray_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.evaluation.ray.nodes.probe.ANSWER_LIMIT_S", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    link, _ = server.accept()
                    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    link.close()

        thread = Thread(target=answer)
        thread.start()
        assert "Ray head" in refusal(f"127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.usefixtures("home_of_its_own")
def test_others_can_reach_an_outer_address_so_a_token_is_needed() -> None:
    with pytest.raises(UserError, match=r"can be reached by other machines.*RAY_AUTH_MODE=token"):
        users_access("10.0.0.2:6379")
    assert users_access("127.0.0.1:6379") == {"RAY_AUTH_MODE": "disabled"}


@pytest.mark.usefixtures("home_of_its_own")
def test_a_token_file_must_hold_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UserError, match="cannot read the cluster's token"):
        users_access("127.0.0.1:6379")
    (tmp_path / "token").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        users_access("127.0.0.1:6379")


@pytest.mark.usefixtures("home_of_its_own")
def test_the_users_token_is_found_where_ray_looks_for_it() -> None:
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("a token")
    found = users_access("10.0.0.2:6379")
    path.unlink()
    assert found == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def test_another_ray_or_python_is_told_with_both_versions(two_nodes: LocalCluster) -> None:
    head = two_nodes.head()
    check_versions(two_nodes.address, head)
    other = replace(head, versions={"ray": "2.1.0", "python": platform.python_version()})
    with pytest.raises(UserError, match=r"another version: Ray 2\.1\.0 there and 2\.\d+"):
        check_versions(two_nodes.address, other)


def test_a_machine_that_is_no_node_is_told_to_join(two_nodes: LocalCluster) -> None:
    head = two_nodes.head()
    check_is_here(two_nodes.address, head)
    away = replace(head, nodes=tuple(replace(node, is_here=False) for node in head.nodes))
    with pytest.raises(UserError, match=r"join it first with: ray start --address="):
        check_is_here(two_nodes.address, away)


def test_nodes_that_have_this_checkout_need_no_environment(two_nodes: LocalCluster) -> None:
    assert runtime_env(find("auto")) == {}
    elsewhere = ClusterAddress("10.0.0.2:6379", "", {})
    assert runtime_env(elsewhere) == {"env_vars": {"PYTHONPATH": str(source_root())}}


@pytest.mark.cluster
@pytest.mark.usefixtures("no_local_cluster")
def test_a_cluster_without_tokens_on_this_machine_is_used_with_or_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        LocalCluster, "environment", property(lambda self: {"RAY_AUTH_MODE": "disabled"})
    )
    cluster, _ = local_cluster.start([local_cluster.NodeSize(1)])
    state = local_cluster.state_file()
    try:
        hidden = state.rename(state.with_name("hidden"))
        with connected(cluster.address) as found:
            assert len(found.nodes) == 1
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with connected(cluster.address) as found:
            assert len(found.nodes) == 1
    finally:
        hidden.rename(state)
        local_cluster.stop()


@pytest.mark.usefixtures("no_local_cluster")
def test_no_cluster_at_all_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Others may run Ray on this machine.
    monkeypatch.setattr("nas.evaluation.ray.connection.address_found_here", lambda: None)
    assert "start one with 'nas cluster up --nodes 2'" in refusal("auto")


def test_a_probe_leaves_no_process(two_nodes: LocalCluster) -> None:
    ask_head(two_nodes.address, two_nodes.environment)
    asked = for_ray(two_nodes.address)
    assert not [p for p in psutil.process_iter(["cmdline"]) if asked in (p.info["cmdline"] or [])]
