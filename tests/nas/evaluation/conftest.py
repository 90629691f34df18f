"""A local cluster of its own for the tests of a module, and a search to run on it."""

from collections.abc import Iterator
from typing import Any

import pytest

from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import LocalCluster, NodeSize
from nas.evaluation.ray.nodes.processes import find_processes
from nas.problem.run_file import RunFile
from tests.nas.evaluation.ray.faults import some_search


@pytest.fixture(scope="module")
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No cache, token or address of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def two_nodes(home_of_its_own: None) -> Iterator[LocalCluster]:
    cluster, is_new = local_cluster.start([NodeSize(1), NodeSize(1, 0, {"device:pi4": 1})])
    assert is_new
    try:
        yield cluster
    finally:
        local_cluster.stop()
    assert not find_processes(cluster.temp)
    assert not cluster.temp.exists()


@pytest.fixture
def file(digits_file: dict[str, Any]) -> RunFile:
    """A search with something to kill in it."""
    return some_search(digits_file)
