"""A search on a cluster is the search on this machine, evaluated elsewhere."""

from pathlib import Path
from time import sleep
from typing import Any

import pytest

from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.problem.run_file import RunFile
from nas.search.run import run_search
from tests.nas.evaluation.ray.driving import (
    all_gone,
    check_whole,
    driving,
    ended_well,
    in_training,
    refused,
    told,
    workers_at,
)
from tests.nas.evaluation.ray.faults import Record, changed, went_well
from tests.nas.parts.searches import wait_for
from tests.nas.parts.tiny import tiny
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_a_candidate_whose_worker_is_killed_goes_on_from_its_checkpoint(
    two_nodes: LocalCluster, file: RunFile, tmp_path: Path, record_property: Record
) -> None:
    run = tmp_path / "tiny"
    longer = changed(file, training={"epochs": 1200}, search={"trials": 3})
    with driving(tmp_path, longer) as process:
        wait_for(process, "start")
        # Whichever worker is killed is in the middle of a training then.
        wait_until(lambda: len(in_training(run)) == 2)
        before = told(run)
        workers_at(two_nodes, "ray::ResourceTrainable.train")[0].kill()
        ended_well(process, tmp_path)

    outcome = "its candidate went on from its checkpoint"
    went_well(record_property, run, before, outcome, trials=3)
    log = (run / "search.log").read_text()
    assert "its process died" in log
    assert "went on from its checkpoint" in log
    assert not (tmp_path / "two").exists()
    all_gone(two_nodes)


@pytest.mark.smoke
def test_what_a_cluster_finds_is_what_this_machine_finds(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(data=digits_file, search={"trials": 4, "workers": 1}, baselines=["lenet_300_100"])
    with driving(tmp_path, file) as process:
        ended_well(process, tmp_path)
    there = check_whole(tmp_path / "tiny", 4)

    here = run_search(file, tmp_path / "here")

    values = {trial.hash: dict(trial.evaluation.values) for trial in here.trials}
    shared = [trial for trial in there.trials if trial.hash in values]
    assert len(shared) >= 2  # the first proposals know nothing of each other
    assert all(dict(trial.evaluation.values) == values[trial.hash] for trial in shared)


def test_candidates_inherit_on_a_cluster_as_on_this_machine(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    rule = {"after": 2, "afresh": 0, "least_share": 0.1}
    search = {"trials": 6, "workers": 1, "inherit": rule}
    file = tiny(data=digits_file, training={"epochs": 3}, search=search)
    with driving(tmp_path, file) as process:
        ended_well(process, tmp_path)
    there = check_whole(tmp_path / "tiny", 6)

    heirs = [t.evaluation for t in there.trials if t.evaluation.inherited is not None]

    assert heirs
    assert {each.epochs for each in heirs} == {1}
    assert not list((tmp_path / "tiny" / "heritage").iterdir())


def test_archives_are_estimated_and_written_for_the_front_on_a_cluster_too(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    asked = {"objectives": ["accuracy", "archive_bytes"], "search": {"trials": 4}}
    with driving(tmp_path, tiny(data=digits_file, **asked)) as process:
        ended_well(process, tmp_path)

    results = check_whole(tmp_path / "tiny", 4)
    assert all(trial.evaluation.values["archive_bytes"] > 0 for trial in results.trials)
    assert all(not trial.evaluation.unsure for trial in results.front)


def test_every_actor_is_used_again(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(data=digits_file, search={"trials": 12}, training={"epochs": 20})
    seen: set[int] = set()
    with driving(tmp_path, file) as process:
        while process.poll() is None:
            seen |= {each.pid for each in workers_at(two_nodes, "ray::ResourceTrainable")}
            sleep(0.1)
        ended_well(process, tmp_path)

    check_whole(tmp_path / "tiny", 12)
    assert 1 <= len(seen) <= 2  # the second may start when all is done


def test_trainings_are_stopped_early_by_rank_wherever_they_run(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(
        data=digits_file,
        training={"epochs": 9},
        search={"trials": 12, "early_stopping": {"grace_epochs": 1, "reduction": 3}},
        baselines=["lenet_300_100"],
    )
    with driving(tmp_path, file) as process:
        ended_well(process, tmp_path)

    results = check_whole(tmp_path / "tiny", 12)
    epochs = {trial.evaluation.epochs for trial in results.stopped}
    assert epochs <= {1, 3}
    assert len(results.stopped) >= 1
    assert all(trial.evaluation.epochs == 9 for trial in (*results.front, *results.baselines))
    reached = {path.stem for path in (tmp_path / "tiny" / "rungs").iterdir()}
    assert reached == {trial.hash for trial in results.trials}


def test_what_a_candidate_does_wrong_is_told_as_its_own_fault(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    """NaN in the training, and a compilation that hangs until its time limit."""
    file = tiny(
        data=digits_file,
        objectives=["accuracy", "latency_ms"],
        training={"learning_rate": 1e30},
        search={"trials": 4},
    )
    with driving(tmp_path, file, takes_s=0.0, fails=True) as process:
        ended_well(process, tmp_path)

    results = check_whole(tmp_path / "tiny", 4)
    reasons = {trial.evaluation.reason or "" for trial in results.trials}
    assert all(not trial.evaluation.feasible for trial in results.trials)
    assert {reason.split(",")[0] for reason in reasons} <= {
        "training must keep a finite loss",
        "compile on host took more than 120 s",
    }
    measured = (tmp_path / "measured").read_text().split()
    assert len(measured) == len(set(measured)) == 4  # a candidate's own fault is not tried again


def test_a_search_that_ends_by_the_clusters_fault_says_so_before_any_trial(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    with driving(tmp_path, tiny(data=digits_file, search={"gpus": 1.0})) as process:
        said = refused(process)

    assert said.startswith(
        "a training takes 1 CPUs and 1 GPUs (search.cpus, search.gpus), and no "
    )
    assert not (tmp_path / "tiny").exists()
