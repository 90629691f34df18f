"""Nodes are checked before any trial: their code, their data, their room."""

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.evaluation.ray.checks import (
    ask_nodes,
    by_value,
    check_nodes,
    check_resources,
    loaded_fingerprints,
    same,
    same_data,
    without_secrets,
)
from nas.evaluation.ray.connection import Cluster, connected
from nas.evaluation.ray.nodes import local_cluster, sources
from nas.evaluation.ray.nodes.local_cluster import LocalCluster, NodeSize
from nas.evaluation.ray.nodes.probe import ClusterNode
from nas.problem.records import RunConfig
from nas.problem.search_problem import load_setting
from nas.runs.summary import data_summary
from search_spaces.graphs.errors import UserError
from tests.nas.parts.tiny import tiny

pytestmark = [pytest.mark.slow]


def node(name: str = "node-1", cpus: float = 1.0, gpus: float = 0.0) -> ClusterNode:
    return ClusterNode("ab" * 28, name, "127.0.0.1", True, False, True, {"CPU": cpus, "GPU": gpus})


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz",
        images=rng.integers(0, 256, (240, 8, 8), np.uint8),
        labels=np.arange(240) % 3,
    )
    file = tiny(data={"kind": "npz", "path": str(tmp_path / "data.npz")})
    return file.config()


def fingerprints(config: RunConfig) -> dict[str, str]:
    found: dict[str, str] = data_summary(load_setting(config).splits)["fingerprints"]
    return found


def asking_for(config: RunConfig, cpus: float, gpus: float) -> RunConfig:
    return replace(config, search=replace(config.search, cpus=cpus, gpus=gpus))


def test_what_no_node_has_is_told_with_what_the_largest_has(config: RunConfig) -> None:
    nodes = (node("small", 1), node("large", 4), node("graphics", 2, 1))
    cluster = Cluster("127.0.0.1:6379", "a cluster", nodes[0].node_id, nodes)
    check_resources(cluster, asking_for(config, 4, 0))
    check_resources(cluster, asking_for(config, 2, 0.5))
    with pytest.raises(UserError, match=r"8 CPUs and 0 GPUs.*the largest, large, has 4 CPUs"):
        check_resources(cluster, asking_for(config, 8, 0))
    with pytest.raises(UserError, match=r"graphics, has 2 CPUs and 1 GPUs; ask for less"):
        check_resources(cluster, asking_for(config, 3, 1))
    with pytest.raises(UserError, match="no node that is alive"):
        check_resources(replace(cluster, nodes=()), config)


@pytest.mark.parametrize("name", ["Python", "hwnas", "torch", "numpy", "source of hwnas"])
def test_another_version_is_told_with_node_and_both_values(name: str) -> None:
    here = sources.survey()
    same(node(), here, here)
    with pytest.raises(UserError) as caught:
        same(node("far"), here, here | {name: "another"})
    said = str(caught.value)
    assert f"node far (127.0.0.1) has another {name} than this machine (another there" in said
    assert here[name] in said
    assert "; " in said


def test_a_node_without_hwnas_is_told_to_install_it() -> None:
    here = sources.survey()
    with pytest.raises(UserError, match=r"not installed there.*pip install hwnas=="):
        same(node(), here, here | {"hwnas": "not installed"})


def test_missing_and_other_data_are_told_with_both_fingerprints() -> None:
    here = {"train": "11", "test": "22"}
    same_data(node(), {"fingerprints": here}, here)
    with pytest.raises(UserError, match=r"cannot load the data \(no file\); put a copy there"):
        same_data(node(), {"error": "no file"}, here)
    with pytest.raises(UserError, match=r"its test images have the fingerprint 33, and 22 here"):
        same_data(node(), {"fingerprints": here | {"test": "33"}}, here)


def test_nodes_that_are_alike_pass(two_nodes: LocalCluster, config: RunConfig) -> None:
    with connected("auto") as cluster:
        check_resources(cluster, config)
        check_nodes(cluster, config, fingerprints(config))


def test_a_node_without_the_data_set_is_named(two_nodes: LocalCluster, config: RunConfig) -> None:
    known = fingerprints(config)
    with connected("auto") as cluster:
        Path(str(config.data.settings["path"])).unlink()
        with pytest.raises(UserError, match=r"node node-1 \(127\.0\.0\.1\) cannot load the data"):
            check_nodes(cluster, config, known)


def test_a_node_with_another_copy_is_named(two_nodes: LocalCluster, config: RunConfig) -> None:
    known = fingerprints(config) | {"train": "of another copy"}
    with connected("auto") as cluster, pytest.raises(UserError, match="has another copy of"):
        check_nodes(cluster, config, known)


def test_a_node_with_other_sources_is_named(two_nodes: LocalCluster) -> None:
    other = sources.survey() | {"source of hwnas": "0123456789ab"}

    def judge(asked: ClusterNode, there: dict[str, Any]) -> None:
        same(asked, other, there)

    said = r"another source of hwnas .*0123456789ab here"
    with connected("auto") as cluster, pytest.raises(UserError, match=said):
        ask_nodes(cluster.nodes, by_value(sources.survey), (), judge)


def test_no_secret_and_no_device_of_the_driver_is_asked_of_a_node(config: RunConfig) -> None:
    secret = "postgresql+psycopg://me:password@db/study"
    given = replace(
        config,
        search=replace(config.search, storage=secret),
        training=replace(config.training, device="cuda"),
    )
    assert "password" not in repr(without_secrets(given))
    assert loaded_fingerprints(without_secrets(given), "/nowhere") == {
        "fingerprints": fingerprints(config)
    }


@pytest.mark.cluster
def test_a_node_that_died_is_left_out_with_a_warning(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    monkeypatch.setattr(
        logging.getLogger("nas.search"), "warning", lambda text, *given: said.append(text % given)
    )
    started, _ = local_cluster.start([NodeSize(1), NodeSize(1)])
    try:
        with connected("auto") as cluster:
            os.kill(started.raylets["node-2"], signal.SIGKILL)
            check_nodes(cluster, config, fingerprints(config))
            assert said == ["node node-2 of the cluster died while it was checked; left out"]
    finally:
        local_cluster.stop()
