"""The Ray that is installed has the privates that are used, and they behave as is assumed."""

import ast
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._common.network_utils import is_localhost
from ray._common.usage.usage_lib import get_cluster_metadata
from ray._common.utils import load_class
from ray._private import ray_constants, services, worker
from ray._private.parameter import RayParams
from ray._private.services import find_node_ids, resolve_ip_for_localhost
from ray.scripts.scripts import start
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from nas.evaluation.ray.nodes import ray_private
from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.evaluation.ray.nodes.ray_private import (
    HOOK,
    address_found_here,
    for_ray,
    keep_actors,
    keep_at_loopback,
    look_at_head,
    quietly,
    raylet,
    read_variables_again,
)

ROOT = Path(__file__).parents[4]
PRIVATE = Path(ray_private.__file__).relative_to(ROOT)


def test_ray_calls_the_hook_with_the_parameters_of_a_node_that_starts() -> None:
    params = RayParams(node_ip_address="10.0.0.2")
    assert hasattr(params, "ray_client_server_port")
    params.ray_client_server_port = 10001

    load_class(HOOK)(params, True)

    assert load_class(HOOK) is keep_at_loopback
    assert (params.node_ip_address, params.ray_client_server_port) == ("127.0.0.1", None)
    assert ray_constants.RAY_START_HOOK == "RAY_START_HOOK"
    code = inspect.getsource(start.callback)
    at = code.index("RAY_START_HOOK")
    assert code.index("resolve_ip_for_localhost") < at < code.index("node.Node(")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_ray_replaces_a_loopback_address_but_not_in_the_spelling_that_it_is_given(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "get_node_ip_address", lambda: "10.0.0.2")

    assert resolve_ip_for_localhost(host) == "10.0.0.2"
    spelled = for_ray("127.0.0.1:6379").partition(":")[0]
    assert not is_localhost(spelled)
    assert resolve_ip_for_localhost(spelled) == spelled


@pytest.mark.parametrize(
    ("clusters", "latest", "found"),
    [
        (set(), None, None),
        ({"10.0.0.2:6379"}, None, "10.0.0.2:6379"),
        ({"10.0.0.2:6379"}, "10.0.0.2:6379", "10.0.0.2:6379"),
    ],
)
def test_ray_finds_the_cluster_of_this_machine_or_none(
    clusters: set[str], latest: str | None, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: clusters)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: latest)

    assert address_found_here() == found


def test_a_heads_metadata_is_json_that_names_the_versions() -> None:
    class Client:
        def internal_kv_get(self, key: bytes, namespace: bytes) -> bytes:
            return b'{"ray_version": "2.60.0", "python_version": "3.12.1"}'

    assert get_cluster_metadata(Client()) == {"ray_version": "2.60.0", "python_version": "3.12.1"}
    assert isinstance(find_node_ids(), set)


@pytest.mark.slow
def test_a_head_tells_its_versions_and_nodes_without_being_joined(
    two_nodes: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in two_nodes.environment.items():
        monkeypatch.setenv(name, value)
    read_variables_again()
    try:
        told = look_at_head(for_ray(two_nodes.address))
    finally:
        monkeypatch.undo()
        read_variables_again()

    assert told["versions"] == two_nodes.versions
    assert [node["name"] for node in told["nodes"]] == ["node-1", "node-2"]
    assert [node["is_head"] for node in told["nodes"]] == [True, False]
    assert all(node["is_alive"] and node["is_here"] for node in told["nodes"])
    assert told["nodes"][1]["resources"]["device:pi4"] == 1.0


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The variables of Ray's token, set back with what Ray has read of them."""
    with monkeypatch.context() as patch:
        yield patch
    read_variables_again()


def test_ray_keeps_the_token_that_it_has_read_until_it_is_told(
    variables: pytest.MonkeyPatch,
) -> None:
    loader = raylet().AuthenticationTokenLoader.instance()
    variables.setenv("RAY_AUTH_MODE", "token")
    variables.setenv("RAY_AUTH_TOKEN", "a" * 64)
    read_variables_again()
    assert loader.get_raw_token() == "a" * 64
    variables.setenv("RAY_AUTH_TOKEN", "b" * 64)
    assert loader.get_raw_token() == "a" * 64

    read_variables_again()

    assert loader.get_raw_token() == "b" * 64


def test_what_ray_prints_of_workers_goes_to_the_log_in_one_line(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    said = {"ip": "10.0.0.2", "pid": 7, "job": None, "is_err": True, "actor_name": None}
    said |= {"task_name": None, "lines": ["a raylet died", "of this", "and that"]}
    with quietly(), caplog.at_level(logging.INFO, "nas.search"):
        worker.print_to_stdstream(said, ignore_prefix=False)

    assert [record.message for record in caplog.records] == ["Ray's 7: a raylet died"]
    assert capfd.readouterr() == ("", "")
    worker.print_to_stdstream({**said, "lines": ["another one died"]}, ignore_prefix=False)
    assert "another one died" in capfd.readouterr().err


def test_tune_keeps_the_actors_of_all_trials_that_end_at_once() -> None:
    assert "self._actor_cache = _ObjectCache(" in inspect.getsource(TuneController.__init__)
    controller, fresh = SimpleNamespace(_actor_cache=_ObjectCache()), _ObjectCache()
    resources = "one CPU"

    keep_actors(controller, resources)
    most = controller._actor_cache.total_max_objects
    keep_actors(controller, resources)

    assert controller._actor_cache.total_max_objects == most
    assert all(controller._actor_cache.cache_object(resources, actor) for actor in range(100))
    assert not all(fresh.cache_object(resources, actor) for actor in range(100))


def privates_of_ray(path: Path) -> Iterator[str]:
    """Yields what a file imports from a private module of Ray, or reads of another object."""
    inside = "ray" in path.parts
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        match node:
            case ast.ImportFrom(module=str(module)):
                names = [f"{module}.{name.name}" for name in node.names]
            case ast.Import():
                names = [name.name for name in node.names]
            case ast.Attribute():
                names = [ast.unparse(node)]
            case ast.Constant(value=str(text)) if inside and text.isidentifier():
                names = [f"object.{text}"]  # as getattr takes it
            case _:
                continue
        yield from (name for name in names if is_private(name, inside=inside))


def is_private(name: str, *, inside: bool) -> bool:
    """Whether a dotted name is of Ray (of anything, ``inside`` its room) and private."""
    first, *rest = name.split(".")
    hidden = any(part.startswith("_") and not part.startswith("__") for part in rest)
    return hidden and first != "self" and (inside or first == "ray")


def test_no_other_file_touches_a_private_of_ray() -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "nas").rglob("*.py")]
    found: dict[str, Any] = {str(path): [*privates_of_ray(path)] for path in files}

    assert len(found.pop(str(PRIVATE))) > 4
    assert {path: names for path, names in found.items() if names} == {}
