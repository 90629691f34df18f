"""Drivers know of each other by beats that each watches on its own clock."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.problem.metrics import METRICS
from nas.runs.folder import RunFolder, create_run
from nas.study.claims import Count, count, verdict
from nas.study.drivers import Drivers, predecessors
from nas.study.liveness import Timing
from nas.study.names import BASELINE, BEAT, DRIVER, HASH, LEFT
from nas.study.study import open_study
from tests.nas.parts.clock import Clock
from tests.waiting import wait_until

TWO = (METRICS["accuracy"], METRICS["macs"])
FAST = Timing(beat_s=0.05, dead_after_s=30.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", "name: run\n")


@pytest.fixture
def study() -> optuna.Study:
    return open_study("s", InMemoryStorage(), RandomSampler(seed=0), TWO)


@pytest.mark.parametrize("jump_s", [-1e6, 1e6])
def test_a_clock_that_is_set_changes_nothing(
    jump_s: float, study: optuna.Study, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    drivers = Drivers(study, run, "vm-1-aa", shared=True, timing=FAST)
    trial = study.ask()
    trial.set_user_attr(DRIVER, "vm-2-bb")
    assert drivers.abandoned(study.trials, set()) == []

    monkeypatch.setattr(time, "time", lambda: now + jump_s)

    assert drivers.abandoned(study.trials, set()) == []


def test_trials_of_the_dead_the_departed_and_of_nobody_are_abandoned(
    study: optuna.Study, run: RunFolder, clock: Clock
) -> None:
    drivers = Drivers(study, run, "vm-1-aa", shared=True, timing=FAST, clock=clock)
    for owner in ("vm-1-aa", "vm-1-aa", "alive", "dead", "left", None):
        trial = study.ask()
        if owner is not None:
            trial.set_user_attr(DRIVER, owner)
    study.set_user_attr(BEAT + "left", LEFT)

    def abandoned(beat: int) -> set[int]:
        study.set_user_attr(BEAT + "alive", beat)
        study.set_user_attr(BEAT + "dead", 7)
        return {trial.number for trial in drivers.abandoned(study.trials, {0})}

    assert abandoned(0) == {1, 4}
    for beat in range(1, 302):
        clock.now += 0.1
        found = abandoned(beat)
    assert found == {1, 3, 4, 5}


def test_a_driver_beats_and_says_when_it_leaves(study: optuna.Study, run: RunFolder) -> None:
    with Drivers(study, run, "vm-1-aa", shared=True, timing=FAST):
        assert predecessors(run) == {"vm-1-aa"}
        wait_until(lambda: study.user_attrs[BEAT + "vm-1-aa"] > 1)

    assert study.user_attrs[BEAT + "vm-1-aa"] == LEFT
    assert predecessors(run) == set()


def test_a_driver_alone_is_silent_until_another_one_comes(
    study: optuna.Study, run: RunFolder
) -> None:
    with Drivers(study, run, "vm-1-aa", shared=False, timing=FAST) as drivers:
        time.sleep(0.2)
        assert study.user_attrs == {}
        study.set_user_attr(BEAT + "vm-2-bb", 0)
        wait_until(lambda: BEAT + "vm-1-aa" in study.user_attrs)
        assert drivers.shared


def test_who_is_ended_by_an_error_leaves_its_name_behind(
    study: optuna.Study, run: RunFolder
) -> None:
    with pytest.raises(RuntimeError), Drivers(study, run, "vm-1-aa", shared=True, timing=FAST):
        raise RuntimeError

    assert predecessors(run) == {"vm-1-aa"}


def test_a_driver_whose_storage_hangs_can_leave(run: RunFolder) -> None:
    hanging, answered = threading.Event(), threading.Event()

    def hang(*args: object) -> None:
        hanging.set()
        answered.wait()

    stuck = SimpleNamespace(user_attrs={}, set_user_attr=hang)
    drivers = Drivers(stuck, run, "vm-1-aa", shared=False, timing=FAST)  # type: ignore[arg-type]
    try:
        with drivers:
            drivers.shared = True
            wait_until(hanging.is_set)
        assert not answered.is_set()  # and it has left
    finally:
        answered.set()


def claims(*rows: tuple[str, str | None, bool]) -> list[FrozenTrial]:
    """Trials, numbered from 0: how each stands, its hash, and whether it is a baseline."""
    trials = []
    for number, (state, key, given) in enumerate(rows):
        attrs = ({HASH: key} if key else {}) | ({BASELINE: "lenet5"} if given else {})
        values = [1.0, 1.0] if state == "COMPLETE" else None
        trial = create_trial(state=TrialState[state], values=values, user_attrs=attrs)
        trial.number = number
        trials.append(trial)
    return trials


def test_the_lower_number_evaluates_and_the_other_gives_back() -> None:
    trials = claims(("RUNNING", "a", False), ("RUNNING", "a", False), ("RUNNING", "b", False))

    assert verdict(trials, 0, 10) == "mine"
    assert verdict(trials, 1, 10) == "under way elsewhere"
    assert verdict(trials, 2, 10) == "mine"


def test_no_more_is_evaluated_than_was_asked_for() -> None:
    trials = claims(
        ("COMPLETE", "g", True),
        ("COMPLETE", "a", False),
        ("FAIL", "x", False),
        ("RUNNING", "b", False),
        ("RUNNING", "c", False),
        ("RUNNING", "h", True),
    )

    assert [verdict(trials, number, 3) for number in (3, 4, 5)] == ["mine", "mine", "mine"]
    assert [verdict(trials, number, 2) for number in (3, 4, 5)] == [
        "mine",
        "more than asked for",
        "mine",
    ]


def test_what_is_known_already_is_told_at_once() -> None:
    trials = claims(("COMPLETE", "a", False), ("RUNNING", "a", False))

    assert verdict(trials, 1, 1) == "mine"


def test_all_drivers_are_counted_together() -> None:
    trials = claims(
        ("COMPLETE", "g", True),
        ("COMPLETE", "a", False),
        ("COMPLETE", "a", False),
        ("RUNNING", "b", False),
        ("RUNNING", None, False),
        ("RUNNING", "a", False),
        ("RUNNING", "c", False),
    )

    counted = count(trials, {6})

    assert counted == Count(frozenset({"g", "a"}), done=1, under_way=1)
