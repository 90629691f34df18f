"""What a driver is doing is on file while it does it, and nothing hangs on that file."""

import json
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from nas.runs.activity import (
    Activity,
    ActivityLog,
    DeviceState,
    forget_activities,
    read_activities,
)
from nas.runs.folder import RunFolder
from tests.waiting import PATIENCE_S


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def wait_for_tasks(run: RunFolder, names: list[str]) -> Activity:
    deadline = monotonic() + PATIENCE_S
    while True:
        for activity in read_activities(run):
            if sorted(task.name for task in activity.tasks) == names:
                return activity
        assert monotonic() < deadline, read_activities(run)
        sleep(0.01)


def test_tasks_phases_and_devices_can_be_read_while_they_last(run: RunFolder) -> None:
    device = DeviceState("host", "node 1", "measuring", 2, 10, 1)
    with ActivityLog(run, "2 processes", least_s=0.01) as log:
        log.set_slots(2)
        log.set_devices([device])
        log.began("a", "trial 1")
        log.began("b", "trial 2")
        log.phase("a", "training", "process 7")
        log.phase("gone", "training")
        activity = wait_for_tasks(run, ["trial 1", "trial 2"])
        log.ended("b")
        activity = wait_for_tasks(run, ["trial 1"])
        assert (activity.place, activity.slots, activity.devices) == ("2 processes", 2, (device,))
        assert (activity.tasks[0].phase, activity.tasks[0].where) == ("training", "process 7")
    assert read_activities(run) == ()


def test_what_was_going_on_stays_on_file_after_an_error(run: RunFolder) -> None:
    log = ActivityLog(run, "this process")
    log.began("a", "trial 1")
    with pytest.raises(KeyError), log:
        raise KeyError
    (activity,) = read_activities(run)
    assert [task.name for task in activity.tasks] == ["trial 1"]
    forget_activities(run)
    assert read_activities(run) == ()


def test_every_driver_has_a_file_of_its_own(run: RunFolder) -> None:
    with ActivityLog(run, "here"), ActivityLog(run, "there"):
        assert {activity.place for activity in read_activities(run)} == {"here", "there"}


def test_many_threads_may_tell_at_once(run: RunFolder) -> None:
    with ActivityLog(run, "here", least_s=0.001) as log:

        def tell(thread: int) -> None:
            for number in range(200):
                log.began(f"{thread}-{number}", f"trial {number}")
                log.phase(f"{thread}-{number}", "training")
                log.ended(f"{thread}-{number}")

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.snapshot().tasks == ()


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk_ends_no_search(small_disk: Path) -> None:
    run = RunFolder(small_disk)
    with ActivityLog(run, "here", least_s=0.01) as log:
        log.began("a", "trial 1")
        wait_for_tasks(run, ["trial 1"])
        fill(small_disk)
        for number in range(2000):
            log.began(str(number), f"trial {number}")
        sleep(0.1)
        assert len(log.snapshot().tasks) == 2001
    assert read_activities(run) == ()


def test_a_damaged_file_says_nothing(run: RunFolder) -> None:
    run.activity.mkdir()
    (run.activity / "one.json").write_text("{")
    (run.activity / "two.json").write_text(json.dumps({"driver": 3}))
    assert read_activities(run) == ()
