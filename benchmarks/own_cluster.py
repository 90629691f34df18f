"""Own cluster: a local Ray cluster for as long as a benchmark needs it, never the user's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.evaluation.ray.connection import Cluster, connected
from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import NodeSize


@contextmanager
def own_cluster(folder: Path, nodes: int, cpus: int = 1) -> Iterator[Cluster]:
    """Starts ``nodes`` of ``cpus`` each, is connected to them while the block runs, and ends them.

    Args:
        folder: What ``nas cluster up`` keeps of a cluster is kept here.
    """
    with environment_kept():
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            del os.environ[name]
        os.environ["HWNAS_CACHE"] = str(folder)
        local_cluster.start([NodeSize(cpus)] * nodes)
        try:
            with connected("auto") as cluster:
                yield cluster
        finally:
            local_cluster.stop()


@contextmanager
def environment_kept() -> Iterator[None]:
    """Gives back the environment's variables as they were."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
