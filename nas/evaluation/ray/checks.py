"""Checks: that every node of a cluster can do what a search will ask of it, before any trial.

What a node finds comes back as plain data.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nas.evaluation.ray.connection import Cluster
from nas.evaluation.ray.nodes import sources
from nas.evaluation.ray.nodes.probe import ClusterNode
from nas.problem.records import RunConfig
from search_spaces.graphs.errors import UserError

CHECK_LIMIT_S = 300.0  # for a node to start a worker and load the data

log = logging.getLogger("nas.search")


class NodeGoneError(Exception):
    """The node died while it was asked."""


def check_resources(cluster: Cluster, config: RunConfig) -> None:
    """Makes sure that some node has room for a training.

    Raises:
        UserError: If none has.
    """
    cpus, gpus = config.search.cpus, config.search.gpus
    if any(node.has("CPU") >= cpus and node.has("GPU") >= gpus for node in cluster.nodes):
        return
    most = max(
        cluster.nodes,
        key=lambda node: (node.has("GPU") >= gpus, node.has("CPU"), node.has("GPU")),
        default=None,
    )
    if most is None:
        raise UserError(f"the cluster at {cluster.address} has no node that is alive")
    raise UserError(
        f"a training takes {cpus:g} CPUs and {gpus:g} GPUs (search.cpus, search.gpus), and no "
        f"node of the cluster has them; the largest, {most.name}, has {most.has('CPU'):g} CPUs "
        f"and {most.has('GPU'):g} GPUs; ask for less, or add a node"
    )


def check_nodes(cluster: Cluster, config: RunConfig, fingerprints: Mapping[str, str]) -> None:
    """Makes sure that each node runs the same code as this process and has the same data.

    Nodes that died meanwhile are left out, with a warning in the log.

    Args:
        fingerprints: Of the data's splits here, by their name.

    Raises:
        UserError: If one differs, or cannot load the data, or no node is left.
    """
    here = sources.survey()
    config = without_secrets(config)
    nodes = ask_nodes(
        cluster.nodes, by_value(sources.survey), (), lambda node, there: same(node, here, there)
    )
    nodes = ask_nodes(
        nodes,
        loaded_fingerprints,
        (config, os.getcwd()),
        lambda node, found: same_data(node, found, fingerprints),
    )
    if not nodes:
        raise UserError(
            f"all nodes of the cluster at {cluster.address} died while they were checked; look at "
            "it with 'ray status'"
        )


def without_secrets(config: RunConfig) -> RunConfig:
    """Returns the configuration for nodes: the study's address may hold a password."""
    training = replace(config.training, device="cpu")  # data only, so no GPU is asked for
    return replace(config, search=replace(config.search, storage=None), training=training)


def ask_nodes(
    nodes: tuple[ClusterNode, ...],
    work: Callable[..., dict[str, Any]],
    given: tuple[Any, ...],
    judge: Callable[[ClusterNode, dict[str, Any]], None],
) -> tuple[ClusterNode, ...]:
    """Has every node do some work at the same time, and judges what each found.

    Returns:
        The nodes that are alive still.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(work)
    asked = [
        (
            node,
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            ),
        )
        for node in nodes
    ]
    answers = [(node, task.remote(*given)) for node, task in asked]
    alive = []
    for node, answer in answers:
        try:
            judge(node, answer_of(node, answer))
        except NodeGoneError:
            log.warning("node %s of the cluster died while it was checked; left out", node.name)
        else:
            alive.append(node)
    return tuple(alive)


def answer_of(node: ClusterNode, answer: Any) -> dict[str, Any]:  # noqa: ANN401  (Ray's reference)
    import ray
    from ray import exceptions

    try:
        found: dict[str, Any] = ray.get(answer, timeout=CHECK_LIMIT_S)
        return found
    except exceptions.GetTimeoutError:
        raise UserError(
            f"node {named(node)} did not load the data within {CHECK_LIMIT_S:g} s; look at it "
            "with 'ray status', or leave it out"
        ) from None
    except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError):
        raise NodeGoneError from None
    except exceptions.RayError as error:
        if not is_alive(node):
            raise NodeGoneError from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(
            f"node {named(node)} cannot be checked ({reason[:200]}); look at its logs, in "
            "/tmp/ray/session_latest/logs unless it was given another folder"
        ) from None


def is_alive(node: ClusterNode) -> bool:
    import ray

    return any(found["Alive"] for found in ray.nodes() if found["NodeID"] == node.node_id)


def by_value(work: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Lets a function travel as it stands, for nodes that may lack hwnas."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sources)
    return work


def same(node: ClusterNode, here: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Raises UserError if a node's Python or packages differ from those here."""
    for name, mine in here.items():
        theirs = there.get(name, "not installed")
        if theirs != mine:
            raise UserError(
                f"node {named(node)} has another {name} than this machine ({theirs} there, {mine} "
                f"here); {remedy(name, mine)}"
            )


def remedy(name: str, mine: str) -> str:
    if name == "Python":
        return f"use Python {mine} there"
    if name == "source of hwnas":
        return "install the same hwnas in both places, or give both the same source checkout"
    return f"run there: pip install {name}=={mine}"


def loaded_fingerprints(config: RunConfig, folder: str) -> dict[str, Any]:
    """Returns the fingerprints of the data as a node loads it, or why it cannot; runs there.

    Args:
        folder: The driver's, which paths of the data are relative to.
    """
    from nas.problem.search_problem import load_setting
    from nas.runs.summary import data_summary

    try:
        if os.path.isdir(folder):
            os.chdir(folder)
        return {"fingerprints": data_summary(load_setting(config).splits)["fingerprints"]}
    except (UserError, OSError, ValueError) as error:
        return {"error": " ".join(str(error).split())}


def same_data(node: ClusterNode, found: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """Raises UserError if a node has no data, or other data."""
    if "error" in found:
        raise UserError(
            f"node {named(node)} cannot load the data ({found['error']}); put a copy there, at "
            "the same path"
        )
    for name, mine in here.items():
        theirs = found["fingerprints"].get(name, "none")
        if theirs != mine:
            raise UserError(
                f"node {named(node)} has another copy of the data: its {name} images have the "
                f"fingerprint {theirs}, and {mine} here; copy the data there again"
            )


def named(node: ClusterNode) -> str:
    return node.name if node.name == node.host else f"{node.name} ({node.host})"
