"""Local status: what is to be known of a local cluster's nodes, dead ones included."""

from collections.abc import Mapping
from typing import Any

from nas.evaluation.ray.nodes.local_cluster import LocalCluster, find_named, name_of
from search_spaces.graphs.errors import UserError


def live_nodes(cluster: LocalCluster) -> int:
    return len({*find_named(cluster, "raylet")} & {*cluster.raylets.values()})


def status(cluster: LocalCluster) -> dict[str, Any]:
    """Returns what is to be known of the cluster's nodes, as JSON-ready data.

    A node whose raylet is gone is dead, also before the head has noticed.
    """
    live = find_named(cluster, "raylet")
    try:
        nodes = {node.name: node for node in cluster.head().nodes}
        problem = None
    except UserError as error:
        nodes, problem = {}, str(error)
    rows = []
    for name, pid in cluster.raylets.items():
        node = nodes.get(name)
        is_head = name == name_of(0)
        alive = pid in live and not (is_head and problem) and (node is None or node.is_alive)
        rows.append(
            {
                "name": name,
                "alive": alive,
                "is_head": is_head,
                "cpus": node.has("CPU") if node else None,
                "gpus": node.has("GPU") if node else None,
                "resources": own_resources(node.resources) if node else {},
                "node_id": node.node_id if node else None,
                "raylet_pid": pid,
            }
        )
    return {
        "address": cluster.address,
        "head_alive": problem is None,
        "problem": problem,
        "started": cluster.started,
        "token_file": str(cluster.token_file),
        "logs": str(cluster.temp / "r" / "session_latest" / "logs"),
        "versions": dict(cluster.versions),
        "nodes": rows,
    }


def own_resources(resources: Mapping[str, float]) -> dict[str, float]:
    """Returns resources without those that every node has."""
    common = ("CPU", "GPU", "memory", "object_store_memory")
    return {
        key: value
        for key, value in resources.items()
        if key not in common and not key.startswith("node:")
    }
