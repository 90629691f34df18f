"""A node or the head of the cluster dies under a search; nothing finished is lost or doubled."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import LocalCluster, NodeSize
from nas.problem.run_file import RunFile
from tests.nas.evaluation.ray.driving import (
    all_gone,
    driving,
    ended_well,
    heads,
    in_training,
    raylet_of,
    refused,
)
from tests.nas.evaluation.ray.faults import Record, changed, in_the_middle, went_well
from tests.nas.parts.searches import wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster(home_of_its_own: None) -> Iterator[LocalCluster]:
    """Two nodes that a test may kill."""
    made, _ = local_cluster.start([NodeSize(1), NodeSize(1)])
    try:
        yield made
    finally:
        local_cluster.stop()


def test_the_second_nodes_raylet_is_killed(
    cluster: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    # Long enough for both nodes to be in the middle of a training.
    longer = changed(file, training={"epochs": 1200})
    with driving(tmp_path, longer) as process:
        before = in_the_middle(process, run)
        wait_until(lambda: len(in_training(run)) == 2)
        raylet_of(cluster, "node-2").kill()
        ended_well(process, tmp_path)

    went_well(record_property, run, before, "the search went on with the other node")
    log = (run / "search.log").read_text()
    assert "its process died" not in log
    assert "is gone" in log
    assert "went on from its checkpoint" in log
    all_gone(cluster)


@pytest.fixture
def with_spare(home_of_its_own: None) -> Iterator[LocalCluster]:
    """A head that trains, and two nodes that offer the device."""
    offers = {"device:host": 1.0}
    made, _ = local_cluster.start([NodeSize(1), NodeSize(0, 0, offers), NodeSize(0, 0, offers)])
    try:
        yield made
    finally:
        local_cluster.stop()


def test_the_node_of_the_device_is_killed_while_it_measures(
    with_spare: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file, first_takes_s=600.0) as process:
        wait_for(process, "start")
        mark = tmp_path / "measuring"
        wait_until(lambda: mark.exists() and len(mark.read_text().split()) == 2)
        holder = psutil.Process(int(mark.read_text().split()[0]))
        raylets = {pid: name for name, pid in with_spare.raylets.items()}
        name = next(raylets[each.pid] for each in holder.parents() if each.pid in raylets)
        assert name != "node-1"
        raylet_of(with_spare, name).kill()
        ended_well(process, tmp_path)

    went_well(record_property, run, {}, "a spare measured the network again")
    measured = (tmp_path / "measured").read_text().split()
    assert measured[0] in measured[1:]
    assert not (tmp_path / "two").exists()


def test_the_head_is_killed_and_the_search_resumed_on_another_cluster(
    cluster: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file) as process:
        before = in_the_middle(process, run)
        (head,) = heads(cluster)
        head.kill()
        start = monotonic()
        said = refused(process)
        assert monotonic() - start < 50
    assert said.startswith(f"the head of the cluster at {cluster.address} does not answer for ")
    assert said.endswith("start the cluster again and go on with --resume")

    local_cluster.stop()
    local_cluster.start([NodeSize(1), NodeSize(1)])
    with driving(tmp_path, file, "resume") as process:
        ended_well(process, tmp_path)

    went_well(record_property, run, before, "ended in one line; resumed on a new cluster")


def test_the_head_is_killed_while_nothing_but_a_measurement_runs(
    cluster: LocalCluster, file: RunFile, tmp_path: Path
) -> None:
    with driving(tmp_path, file, first_takes_s=600.0) as process:
        wait_for(process, "start")
        wait_until(lambda: (tmp_path / "measuring").exists())
        (head,) = heads(cluster)
        head.kill()
        assert refused(process).startswith(f"the head of the cluster at {cluster.address} does ")
