"""Of drivers that share a study each claims its trials so that none is evaluated twice."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from nas.problem.metrics import METRICS
from nas.runs.folder import RunFolder
from nas.study.drivers import Drivers
from nas.study.liveness import Timing
from nas.study.names import BASELINE, BEAT, DRAWING, DRIVER, HASH, TICKET
from nas.study.sharing import Sharing
from nas.study.study import open_study
from tests.waiting import wait_until

TWO = (METRICS["accuracy"], METRICS["macs"])
STEPS = 200  # of all drivers together without one of the dead, after which it is dead
DYING = 0.02  # share of steps at which a driver dies


class DriverDiedError(Exception):
    """Ends a driver of a test at once, whatever it is at."""


class Turns:
    """Lets threads go on one at a time, in an order drawn from a seed.

    Attributes:
        now: Steps so far, the clock of all.
    """

    def __init__(self, rng: Random, names: set[str], mortal: set[str]) -> None:
        self.rng, self.mortal = rng, mortal
        self.alive = set(names)
        self.now = 0
        self._waiting: set[str] = set()
        self._turn: str | None = None
        self._change = threading.Condition()

    def step(self) -> None:
        """Waits for this thread's turn, which ends the turn it has."""
        me = threading.current_thread().name
        with self._change:
            if self._turn == me:
                self._turn = None
            self._waiting.add(me)
            self._pass_on()
            while self._turn != me:
                self._change.wait()
            self.now += 1
            if me in self.mortal and self.rng.random() < DYING:
                raise DriverDiedError

    def leave(self) -> None:
        with self._change:
            self.alive.discard(threading.current_thread().name)
            self._turn = None
            self._pass_on()

    def _pass_on(self) -> None:
        if self._turn is None and self.alive and self._waiting >= self.alive:
            self._turn = self.rng.choice(sorted(self.alive))
            self._waiting.discard(self._turn)
            self._change.notify_all()


class StorageInTurns(InMemoryStorage):
    """A storage each of whose trials is read and written by one thread at a time, in turns."""

    turns: Turns | None = None

    def step(self) -> None:
        if self.turns is not None:
            self.turns.step()

    def create_new_trial(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401
        self.step()
        return super().create_new_trial(*args, **kwargs)

    def set_trial_user_attr(self, *args: Any) -> None:  # noqa: ANN401
        self.step()
        super().set_trial_user_attr(*args)

    def set_trial_state_values(self, *args: Any, **kwargs: Any) -> bool:  # noqa: ANN401
        self.step()
        return super().set_trial_state_values(*args, **kwargs)

    def get_all_trials(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        self.step()
        return super().get_all_trials(*args, **kwargs)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Returns beats that move for who is alive, and stand for who is dead."""
        attrs = dict(super().get_study_user_attrs(study_id))
        if self.turns is not None:
            attrs |= {BEAT + name: self.turns.now for name in self.turns.alive}
        return attrs


def search_in_turns(seed: int, names: list[str], mortal: set[str], wanted: int) -> list[str]:
    """Has drivers search until all is told; returns what was evaluated by who did not die then.

    Each decides at random and takes as long for it as the turns make it.
    """
    rng = Random(seed)
    turns = Turns(rng, set(names), mortal)
    storage = StorageInTurns()
    study = open_study("s", storage, RandomSampler(seed=seed), TWO)
    evaluated: list[str] = []
    under_way: set[str] = set()
    errors: list[BaseException] = []

    def drive(name: str) -> None:
        timing = Timing(poll_s=0.0, dead_after_s=STEPS, beat_s=STEPS)
        drivers = Drivers(
            study, RunFolder(Path("unused")), name, True, timing, lambda: float(turns.now)
        )
        sharing = Sharing(study, drivers, wanted, lambda: False)
        while (counted := sharing.catch_up(set())).done < wanted:
            if counted.done + counted.under_way < wanted or waiting(study):
                try_one(sharing, study.ask(), name)

    def try_one(sharing: Sharing, trial: optuna.Trial, name: str) -> None:
        try:
            trial.set_user_attr(DRIVER, name)
            key = f"h{trial.suggest_categorical('gene', [*range(wanted + 2)])}"
            for _ in range(rng.choice([0, 0, 30])):  # it decides at once, or for long
                turns.step()
            ruling = sharing.claim(trial, key, set())
            if ruling.outcome != "mine":
                sharing.give_back(trial, ruling.outcome)
                return
            counted = sharing.catch_up({trial.number})
            if key not in counted.told:
                evaluate(key)
            study.tell(trial, [0.5, 1.0])
        except UpdateFinishedTrialError:  # it was slow enough to be taken for dead
            pytest.fail("a driver that is alive lost a trial")

    def evaluate(key: str) -> None:
        assert key not in under_way, "evaluated by two at once"
        assert len((under_way | {*evaluated}) - {key}) < wanted, "more than was asked for"
        under_way.add(key)
        try:
            for _ in range(5):
                turns.step()
            evaluated.append(key)
        finally:
            under_way.discard(key)

    def live() -> None:
        try:
            turns.step()
            drive(threading.current_thread().name)
        except DriverDiedError:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            turns.leave()

    storage.turns = turns
    threads = [threading.Thread(target=live, name=name) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    storage.turns = None
    if errors:
        raise errors[0]
    finished = study.get_trials(states=(TrialState.COMPLETE,))
    assert {trial.user_attrs[HASH] for trial in finished} == set(evaluated)
    return evaluated


def waiting(study: optuna.Study) -> bool:
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("wanted", [1, 4])
def test_in_whatever_order_drivers_act_each_is_evaluated_once_and_no_more_than_asked(
    seed: int, wanted: int
) -> None:
    evaluated = search_in_turns(seed, ["a", "b", "c"], set(), wanted)
    assert len(evaluated) == len(set(evaluated)) == wanted


@pytest.mark.parametrize("seed", range(30))
def test_whenever_drivers_die_the_last_one_finishes_and_none_waits_for_ever(seed: int) -> None:
    evaluated = search_in_turns(seed, ["a", "b", "c"], {"a", "b"}, 3)
    assert len(set(evaluated)) == 3


@pytest.fixture
def study() -> optuna.Study:
    return open_study("s", InMemoryStorage(), RandomSampler(seed=0), TWO)


def sharing_as(
    study: optuna.Study,
    name: str,
    *,
    wanted: int = 1,
    timing: Timing | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Sharing:
    drivers = Drivers(study, RunFolder(Path("unused")), name, True, timing or Timing())
    return Sharing(study, drivers, wanted, is_stopping)


def asked(study: optuna.Study, driver: str) -> optuna.Trial:
    trial = study.ask()
    trial.set_user_attr(DRIVER, driver)
    return trial


def test_who_decides_for_long_is_not_waited_for_and_yields(study: optuna.Study) -> None:
    slow, fast = asked(study, "vm-1-aa"), asked(study, "vm-2-bb")

    ruled = sharing_as(study, "vm-2-bb").claim(fast, "h", set())
    late = sharing_as(study, "vm-1-aa").claim(slow, "other", set())

    assert (ruled.outcome, late.outcome) == ("mine", "more than asked for")


def test_what_was_decided_late_is_not_evaluated_beside_its_twin(study: optuna.Study) -> None:
    slow, fast = asked(study, "vm-1-aa"), asked(study, "vm-2-bb")

    sharing_as(study, "vm-2-bb", wanted=5).claim(fast, "h", set())
    late = sharing_as(study, "vm-1-aa", wanted=5).claim(slow, "h", set())

    assert late.outcome == "under way elsewhere"


def test_who_died_drawing_its_ticket_is_waited_for_until_it_counts_as_dead(
    study: optuna.Study,
) -> None:
    dead = asked(study, "vm-1-aa")
    dead.set_user_attr(TICKET, DRAWING)
    dead.set_user_attr(HASH, "h")
    study.set_user_attr(BEAT + "vm-1-aa", 7)
    timing = Timing(dead_after_s=0.3, beat_s=5.0, poll_s=0.05)

    ruled = sharing_as(study, "vm-2-bb", timing=timing).claim(asked(study, "vm-2-bb"), "h", set())

    assert ruled.outcome == "mine"
    assert [trial.state for trial in study.get_trials()] == [
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.WAITING,
    ]


def test_a_search_that_is_stopped_waits_for_nobody_and_queues_its_trial(
    study: optuna.Study,
) -> None:
    other = asked(study, "vm-1-aa")
    other.set_user_attr(TICKET, DRAWING)
    study.enqueue_trial({}, user_attrs={BASELINE: "lenet5"})
    mine = asked(study, "vm-2-bb")
    stop = threading.Event()
    sharing = sharing_as(study, "vm-2-bb", is_stopping=stop.is_set)
    found: list[str] = []

    def claim() -> None:
        found.append(sharing.claim(mine, "h", set()).outcome)

    thread = threading.Thread(target=claim)
    thread.start()
    wait_until(lambda: study.get_trials()[mine.number].user_attrs.get(TICKET) == 1)
    time.sleep(0.2)
    assert found == []
    stop.set()
    thread.join()
    sharing.give_back(mine, "stopped")

    assert found == ["stopped"]
    queued = study.get_trials(states=(TrialState.WAITING,))
    assert [trial.user_attrs for trial in queued] == [{BASELINE: "lenet5"}]


def test_a_claim_of_a_driver_that_was_alone_goes_first(study: optuna.Study) -> None:
    other, mine = asked(study, "vm-1-aa"), asked(study, "vm-2-bb")
    drivers = Drivers(study, RunFolder(Path("unused")), "vm-1-aa", shared=False)
    alone = Sharing(study, drivers, 1, lambda: False)

    assert alone.claim(other, "h", set()).outcome == "mine"
    assert (
        sharing_as(study, "vm-2-bb").claim(mine, "other", set()).outcome == "more than asked for"
    )
    assert TICKET not in study.get_trials()[other.number].user_attrs


def test_who_was_taken_for_dead_learns_it_when_it_claims(study: optuna.Study) -> None:
    mine = asked(study, "vm-1-aa")
    study.tell(mine.number, state=TrialState.FAIL)

    with pytest.raises(UpdateFinishedTrialError):
        sharing_as(study, "vm-1-aa").claim(mine, "h", set())
