"""Whatever is killed under a search on a cluster, nothing finished is lost and nothing doubled.

Each test kills a real process, or does worse, and records what came of it for
``benchmarks/cluster_faults``.
"""

import os
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep

import pytest

from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.problem.run_file import RunFile
from nas.study.results import load_results
from tests.nas.evaluation.ray.driving import (
    all_gone,
    driving,
    ended_well,
    is_training,
    refused,
    told,
    workers_at,
)
from tests.nas.evaluation.ray.faults import TRIALS, Record, changed, in_the_middle, went_well
from tests.nas.parts.searches import wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.cluster


def test_the_driver_is_killed_and_the_search_resumed(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file) as process:
        before = in_the_middle(process, run)
        process.kill()
    all_gone(two_nodes)
    with driving(tmp_path, file, "resume") as process:
        ended_well(process, tmp_path)

    went_well(record_property, run, before, "resumed")
    assert "went on from its checkpoint" in (run / "search.log").read_text()


def test_the_device_actor_is_killed_while_it_measures(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file, first_takes_s=600.0) as process:
        wait_for(process, "start")
        mark = tmp_path / "measuring"
        wait_until(lambda: mark.exists() and len(mark.read_text().split()) == 2)
        before = told(run)
        os.kill(int(mark.read_text().split()[0]), signal.SIGKILL)
        ended_well(process, tmp_path)

    went_well(record_property, run, before, "the network was measured again")
    measured = (tmp_path / "measured").read_text().split()
    assert measured[0] in measured[1:]
    assert not (tmp_path / "two").exists()
    all_gone(two_nodes)


def test_the_device_actor_hangs(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    """Its time limits are those of the measurer; this is for the actor itself."""
    run = tmp_path / "tiny"
    hurried = changed(file, latency={"time_limit_s": 0.5})
    with driving(tmp_path, hurried, first_takes_s=600.0) as process:
        ended_well(process, tmp_path)

    went_well(record_property, run, {}, "the actor was replaced, the network measured again")
    assert "hangs; starting it anew" in (run / "search.log").read_text()


def test_the_keeper_is_killed(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file) as process:
        before = in_the_middle(process, run)
        workers_at(two_nodes, "ray::Keeper")[0].kill()
        ended_well(process, tmp_path)

    went_well(record_property, run, before, "the keeper was started anew")


def test_a_candidate_under_which_every_worker_dies_is_infeasible(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    """As the system does with a candidate that takes all memory."""
    run = tmp_path / "tiny"
    slow = changed(file, training={"epochs": 1_000_000}, search={"trials": 1})
    with driving(tmp_path, slow) as process:
        wait_for(process, "start")
        killed: set[int] = set()
        while process.poll() is None:
            for worker in workers_at(two_nodes, "ray::ResourceTrainable.train"):
                if worker.pid not in killed and is_training(run):
                    killed.add(worker.pid)
                    worker.kill()
            sleep(0.2)
        ended_well(process, tmp_path)

    assert len(killed) == 2
    outcome = "tried twice, then infeasible with the reason"
    went_well(record_property, run, {}, outcome, trials=1, infeasible=1)
    reason = "its worker process died 2 times (out of memory, or killed)"
    assert [trial.evaluation.reason for trial in load_results(run).trials] == [reason]


def test_workers_that_die_while_they_load_the_data_count_against_no_candidate(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    short = changed(file, search={"trials": 2}, training={"epochs": 1})
    with driving(tmp_path, short, deaths=2, takes_s=0.0, first_takes_s=0.0) as process:
        ended_well(process, tmp_path)

    assert len(list(tmp_path.glob("opening *"))) == 2
    assert (run / "search.log").read_text().count("was lost: before it began") == 2
    went_well(record_property, run, {}, "tried again, by whoever loads the data", trials=2)


def test_workers_that_all_die_while_they_load_the_data_end_the_search_in_one_line(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path
) -> None:
    short = changed(file, search={"trials": 2}, training={"epochs": 1})
    with driving(tmp_path, short, deaths=100, takes_s=0.0, first_takes_s=0.0) as process:
        said = refused(process)

    assert said.startswith("no worker gets through its start: 3 were lost there (last: before it")
    assert told(tmp_path / "tiny") == {}
    all_gone(two_nodes)


def test_a_checkpoint_is_damaged_and_its_training_starts_over(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file) as process:
        before = in_the_middle(process, run)
        process.kill()
    all_gone(two_nodes)
    for checkpoint in (run / "checkpoints").glob("*.safetensors"):
        content = bytearray(checkpoint.read_bytes())
        content[len(content) // 2] ^= 255
        checkpoint.write_bytes(content)
    with driving(tmp_path, file, "resume") as process:
        ended_well(process, tmp_path)

    went_well(record_property, run, before, "trained from the start")


def test_the_drivers_disk_is_full(
    two_nodes: LocalCluster,
    file: RunFile,
    small_disk: Path,
    tmp_path: Path,
    record_property: Record,
) -> None:
    run = small_disk / "tiny"
    many = changed(file, search={"trials": 40}, training={"epochs": 1})
    with driving(small_disk, many, takes_s=0.0) as process:
        said = refused(process)
    assert "the disk is full" in said
    assert "go on with --resume" in said
    before = told(run)
    assert 0 < len(before) < 40
    all_gone(two_nodes)

    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    with driving(small_disk, many, "resume", takes_s=0.0) as process:
        ended_well(process, small_disk)
    went_well(record_property, run, before, "ended in one line; resumed", trials=40)


def test_ctrl_c_once_finishes_what_runs_and_twice_stops_at_once(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    with driving(tmp_path, file) as process:
        before = in_the_middle(process, run)
        os.killpg(process.pid, signal.SIGINT)
        ended_well(process, tmp_path)
    now = told(run)
    assert len(before) < len(now) < TRIALS
    all_gone(two_nodes)

    endless = changed(file, training={"epochs": 1_000_000})
    endless = endless.model_copy(update={"name": "endless"})
    with driving(tmp_path / "endless", endless) as process:
        wait_for(process, "start")
        wait_until(lambda: is_training(tmp_path / "endless" / "endless"))
        os.killpg(process.pid, signal.SIGINT)
        sleep(1)
        assert process.poll() is None
        start = monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
        assert monotonic() - start < 30
    all_gone(two_nodes)

    with driving(tmp_path, file, "resume") as process:
        ended_well(process, tmp_path)
    went_well(record_property, run, now, "once: finished what ran; twice: stopped; resumed")


def test_two_drivers_on_one_cluster_share_study_and_device(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    """One of them is killed; the device's actor, which was its own, dies with it."""
    storage = f"journal:{tmp_path}/shared.journal"
    file = changed(file, search={"storage": storage, "trials": 10}, training={"epochs": 1200})
    marks = str(tmp_path)
    with driving(tmp_path / "a", file, folder_of_marks=marks) as first:
        wait_for(first, "trial")
        with driving(tmp_path / "b", file, "join", folder_of_marks=marks) as second:
            wait_for(second, "start")  # the first one's workers have all the room
            sleep(3)
            first.kill()
            ended_well(second, tmp_path / "b")

    here = load_results(tmp_path / "b" / "tiny")
    there = load_results(tmp_path / "a" / "tiny")
    assert [trial.hash for trial in here.front] == [trial.hash for trial in there.front]
    hashes = [trial.hash for trial in here.searched]
    record_property("lost", 10 - len(hashes))
    record_property("doubled", here.num_duplicates + len(hashes) - len(set(hashes)))
    record_property("outcome", "the other driver took over its trials and the device")
    assert len(hashes) == len(set(hashes)) == 10
    assert here.num_running == here.num_duplicates == len(here.infeasible) == 0
    assert not (tmp_path / "two").exists()
    all_gone(two_nodes)
