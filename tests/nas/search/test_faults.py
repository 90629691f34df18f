"""A search that is killed, interrupted, or without room on its disk loses nothing."""

import os
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState

from nas.problem.run_file import RunFile
from nas.runs.files import DiskFullError
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage
from tests.nas.parts.searches import running
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S, wait_until

PROGRAM = """
import sys
from pathlib import Path
from nas.problem.run_file import read_run_file
from nas.search.run import run_search

def tell(progress):
    print(progress.done, flush=True)

if __name__ == "__main__":
    file = read_run_file(Path(sys.argv[1]))
    start = lambda: print("start", flush=True)
    run_search(file, Path(sys.argv[2]), resume=True, on_start=start, on_progress=tell)
    print("end", flush=True)
"""


def searching(folder: Path, file: RunFile) -> AbstractContextManager["subprocess.Popen[str]"]:
    return running(folder, PROGRAM, file)


def wait_for(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            return
    raise AssertionError(f"the search ended without saying {line!r}: {process.communicate()}")


def check_whole(results: RunResults, trials: int) -> None:
    assert len(results.searched) == len({trial.hash for trial in results.searched}) == trials
    evaluations = {path.stem for path in (results.run.path / "evaluations").iterdir()}
    assert evaluations == {trial.hash for trial in results.trials}
    assert results.num_running == 0
    assert results.num_duplicates == 0


def finished(path: Path) -> dict[int, Any]:
    """What is told, by number."""
    storage = open_storage(None, path / "study.journal")
    studies = storage.get_all_studies()
    return {
        trial.number: (trial.values, trial.params)
        for study in studies
        for trial in storage.get_all_trials(study._study_id)
        if trial.state == TrialState.COMPLETE
    }


def wait_for_end(pids: list[int]) -> None:
    wait_until(lambda: not any(psutil.pid_exists(pid) and alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.cluster
def test_kill_9_again_and_again_loses_nothing_and_doubles_nothing(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(data=digits_file, search={"trials": 100}, baselines=["lenet_300_100"])
    rng = Random(0)
    told: dict[int, Any] = {}
    kills = 0
    for _ in range(2):
        with searching(tmp_path, file) as process:
            wait_for(process, "start")
            assert process.stdout is not None
            process.stdout.readline()  # of the first trial, however busy the machine is
            sleep(rng.uniform(0.0, 0.4))
            kills += process.poll() is None
            process.kill()
        now = finished(tmp_path / "tiny")
        assert told.items() <= now.items()
        told = now
    assert kills >= 2
    assert 0 < len(told) < 101

    results = run_search(file, tmp_path, resume=True)

    check_whole(results, 100)
    whole = run_search(file, tmp_path / "whole")
    assert [trial.genes for trial in results.trials] == [trial.genes for trial in whole.trials]
    assert [trial.evaluation.values for trial in results.trials] == [
        trial.evaluation.values for trial in whole.trials
    ]


@pytest.mark.slow
def test_workers_die_with_a_search_that_is_killed_and_it_resumes(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(data=digits_file, search={"trials": 10, "workers": 2}, training={"epochs": 60})
    with searching(tmp_path, file) as process:
        wait_for(process, "2")
        family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        assert len(family) >= 2
        process.kill()
    wait_for_end(family)

    results = run_search(
        tiny(data=digits_file, search={"trials": 10}, training={"epochs": 60}),
        tmp_path,
        resume=True,
    )

    check_whole(results, 10)
    assert 1 <= results.num_failed <= 2


@pytest.mark.slow
def test_one_ctrl_c_lets_running_trials_end_and_a_second_stops_them(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = tiny(
        data=digits_file,
        search={"trials": 50, "workers": 2},
        training={"epochs": 40},
    )
    with searching(tmp_path, file) as process:
        wait_for(process, "2")
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        wait_for(process, "end")
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    results = load_results(tmp_path / "tiny")
    _, _, after = results.run.log_file.read_text().partition("interrupted: finishing")
    ended = [trial for trial in results.searched if trial.hash in after]
    assert len(ended) <= 2 <= len(results.searched) < 50
    assert results.num_running == results.num_failed == 0
    check_whole(results, len(results.searched))

    long = tiny(data=digits_file, name="long", search={"workers": 2}, training={"epochs": 100_000})
    with searching(tmp_path, long) as process:
        wait_for(process, "start")
        family: list[int] = []
        while len(family) < 3:  # two workers, and what keeps track of their resources
            family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            sleep(0.05)
        wait_until(lambda: load_results(tmp_path / "long").num_running == 2)
        log = tmp_path / "long" / "search.log"
        os.killpg(process.pid, signal.SIGINT)
        wait_until(lambda: "interrupted: finishing" in log.read_text())
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # the trainings would take hours
        assert process.wait(PATIENCE_S) != 0
    wait_for_end(family)
    assert load_results(tmp_path / "long").num_running == 2


def test_a_full_disk_ends_the_search_in_one_line_and_loses_nothing(small_disk: Path) -> None:
    file = tiny(search={"trials": 30})
    with pytest.raises(DiskFullError, match=r"the disk is full: .*go on with --resume"):
        run_search(file, small_disk)
    told = finished(small_disk / "tiny")
    assert 0 < len(told) < 30

    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    results = run_search(file, small_disk, resume=True)

    check_whole(results, 30)
    assert told.items() <= finished(small_disk / "tiny").items()


@pytest.mark.sweep(4)
@pytest.mark.parametrize("pages", range(16))
def test_the_disk_may_be_full_at_any_file(small_disk: Path, pages: int) -> None:
    """The journal and the log, which are written bit by bit, meet the end of the disk too."""
    file = tiny(search={"trials": 6})
    run_search(tiny(search={"trials": 3}), small_disk)
    free = os.statvfs(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes((free.f_bavail - pages) * free.f_bsize))

    with pytest.raises(DiskFullError, match=r"the disk is full: .*go on with --resume"):
        run_search(file, small_disk, resume=True)
    filler.unlink()

    check_whole(run_search(file, small_disk, resume=True), 6)
