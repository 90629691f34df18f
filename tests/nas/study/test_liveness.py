"""Which drivers are alive is told by their processes, their files and their beats."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.cli.status import distant_line
from nas.runs.activity import Activity, host_of, new_driver, now
from nas.runs.files import write_json
from nas.runs.folder import RunFolder
from nas.runs.lock import lock_run
from nas.study.liveness import (
    Sighting,
    Timing,
    Watch,
    beats_of,
    is_alive,
    liveness,
)
from nas.study.names import BEAT, DRIVER, LEFT
from tests.nas.parts.clock import Clock

LONG_AGO = "2025-01-01T00:00:00+00:00"


def test_who_beats_no_more_is_alive_no_more_and_its_trials_are_left() -> None:
    clock = Clock()
    watch = Watch(clock=clock)
    known = []
    for look in range(10):
        beats = {"dead": 3, "moves": look, "stops": min(look, 2)}
        known.append({d.driver: (d.is_alive, d.silent_s) for d in watch.look(beats)})
        clock.now += 5.0

    assert known[0] == dict.fromkeys(("dead", "moves", "stops"), (None, 0.0))
    assert known[5] == {"dead": (None, 25.0), "moves": (True, 0.0), "stops": (True, 15.0)}
    assert known[6]["dead"] == (False, 30.0)
    assert known[9] == {"dead": (False, 45.0), "moves": (True, 0.0), "stops": (False, 35.0)}
    assert distant_line(Sighting("vm-1-aa", was_heard=True, silent_s=90.0)) == (
        "driver vm-1-aa, with another run folder: nothing heard of it for 1 min 30 s; others take "
        "over its trials"
    )


def test_who_slept_says_of_nobody_that_it_is_dead() -> None:
    clock = Clock()
    watch = Watch(clock=clock)
    watch.look({"vm-1-aa": 1})
    clock.now += 3600.0
    (distant,) = watch.look({"vm-1-aa": 1})
    assert distant.is_alive is None


def test_a_sign_that_moves_again_is_silent_no_more() -> None:
    clock = Clock()
    watch = Watch(Timing(beat_s=5.0), clock)
    watch.look({"a": 1})
    clock.now += 10.0
    assert watch.look({"a": 1}) == (Sighting("a", silent_s=10.0),)
    assert watch.look({"a": 2}) == (Sighting("a", was_heard=True),)


def test_who_left_beats_no_more() -> None:
    attributes = {BEAT + "a": 3, BEAT + "b": LEFT, "terms": {}}

    assert beats_of(attributes) == {"a": 3}


def test_a_name_tells_its_machine() -> None:
    assert host_of("my-host.example-12-0a1b2c3d") == "my-host.example"


def running(driver: str | None) -> FrozenTrial:
    attributes = {} if driver is None else {DRIVER: driver}
    return optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attributes)


def test_whether_somebody_tends_a_trial_is_told_by_its_driver(tmp_path: Path) -> None:
    run, clock = RunFolder(tmp_path), Clock()
    watch = Watch(clock=clock)
    for driver, written in (("vm-1-aa", now()), ("vm-2-bb", LONG_AGO)):
        activity = Activity(driver, "", 1, (), (), written)
        write_json(run.activity / f"{driver}.json", asdict(activity))

    for beat in range(2):
        beats = {BEAT + "vm-1-aa": 0, BEAT + "vm-3-cc": beat, BEAT + "vm-4-dd": 0}
        who = liveness(run, beats, watch)
        clock.now += 5.0

    assert who.lives == {"vm-1-aa": True, "vm-2-bb": False, "vm-3-cc": True, "vm-4-dd": None}
    drivers = ("vm-1-aa", "vm-2-bb", "vm-3-cc", "vm-4-dd", "vm-5-ee", None)
    trials = [running(driver) for driver in drivers]
    assert [who.tends(t) for t in trials] == [True, False, True, None, False, True]
    assert [who.is_elsewhere(t) for t in trials] == [False, False, True, True, False, False]


def test_a_trial_of_a_run_that_is_locked_is_tended_where_no_driver_is_known(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path)
    with lock_run(run):
        locked = liveness(run, {}, Watch())
    free = liveness(run, {}, Watch())

    assert locked.tends(running("vm-1-aa"))
    assert not free.tends(running("vm-1-aa"))
    assert not free.is_at_work


def test_a_driver_that_was_killed_is_dead() -> None:
    host = new_driver().rsplit("-", 2)[0]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        activity = Activity(f"{host}-{process.pid}-0a1b2c3d", "here", 1, (), (), now())
        assert is_alive(activity)
        process.kill()
        process.wait()
        assert not is_alive(activity)


def test_a_process_that_only_has_a_dead_drivers_number_is_not_it() -> None:
    host = new_driver().rsplit("-", 2)[0]
    assert not is_alive(Activity(f"{host}-{os.getpid()}-0a1b2c3d", "", 1, (), (), LONG_AGO))


def test_a_driver_on_another_machine_is_judged_by_the_age_of_its_file() -> None:
    assert is_alive(Activity("elsewhere-7-0a1b2c3d", "", 1, (), (), now()))
    assert not is_alive(Activity("elsewhere-7-0a1b2c3d", "", 1, (), (), LONG_AGO))
