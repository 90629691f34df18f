"""Drivers: the processes that search in one study, and how they know of each other.

Where a study is shared, each driver beats a counter in it, and the others watch that counter
(`nas.study.liveness`). A driver whose counter stands still is dead, and its trials are taken over;
what it does when it comes back after all is told by nobody else, so nothing is told twice.

Each driver also leaves a file of its name in the run folder, so that a search that is resumed
knows which trials its dead predecessor was at.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.runs.activity import new_driver
from nas.runs.folder import RunFolder
from nas.study.liveness import Timing, Watch, beats_of, owner
from nas.study.names import BEAT, LEFT


@dataclass(slots=True)
class Drivers:
    """One driver's view of all that search in its study.

    Use it as a context manager: inside the block it beats in a thread of its own, at once where
    the study is shared, and else as soon as another driver is there; leaving it says so.

    Attributes:
        me: This driver's name.
        shared: Whether others may work on the study.
    """

    study: optuna.Study
    run: RunFolder
    me: str
    shared: bool
    timing: Timing = field(default_factory=Timing)
    clock: Callable[[], float] = monotonic
    watch: Watch = field(init=False)
    _over: threading.Event = field(init=False, default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.watch = Watch(self.timing, self.clock)
        self._thread = threading.Thread(target=self._beat_on, daemon=True, name="driver's beat")

    def __enter__(self) -> "Drivers":
        self.run.drivers.mkdir(exist_ok=True)
        (self.run.drivers / self.me).touch()
        if self.shared:
            self._beat(0)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        # What hangs on a lost storage is left behind: the thread ends with the process.
        self._thread.join(timeout=self.timing.beat_s)
        if kind is None:
            (self.run.drivers / self.me).unlink(missing_ok=True)

    def _beat_on(self) -> None:
        beats = 0
        while not self._over.wait(self.timing.beat_s):
            beats += 1
            self._try(lambda: self._beat_if_shared(beats))  # noqa: B023
        if self.shared:
            self._try(lambda: self._beat(LEFT))

    def _try(self, act: Callable[[], object]) -> None:
        """Does what the search itself will fail at too, and says better why."""
        try:
            act()
        except Exception:
            return

    def _beat_if_shared(self, beats: int) -> None:
        if self.notice_others():
            self._beat(beats)

    def _beat(self, sign: int | str) -> None:
        self.study.set_user_attr(BEAT + self.me, sign)

    def notice_others(self) -> bool:
        """Returns whether the study is shared, which another driver's beat makes it for good."""
        if not self.shared and beats_of(self.study.user_attrs).keys() - {self.me}:
            self.shared = True
            self._beat(0)
        return self.shared

    def abandoned(
        self, trials: Iterable[FrozenTrial], at_work: frozenset[int] | set[int]
    ) -> list[FrozenTrial]:
        """Returns the running trials that nobody works on any more.

        Those are trials of drivers that are dead or have left, trials of this driver that it does
        not know of, and trials that were without a driver for too long.

        Args:
            at_work: Numbers of the trials that this driver works on.
        """
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        attributes = self.study.user_attrs
        beats = {owner(trial): attributes.get(BEAT + owner(trial)) for trial in running}
        gone = {name for name, beat in beats.items() if beat == LEFT} | {
            sighting.driver
            for sighting in self.watch.look(beats)
            if sighting.silent_s >= self.timing.dead_after_s
        }
        return [
            trial
            for trial in running
            if (trial.number not in at_work if owner(trial) == self.me else owner(trial) in gone)
        ]


def alone(study: optuna.Study, run: RunFolder) -> Drivers:
    """Returns the view of a driver that nobody else can meet."""
    return Drivers(study, run, new_driver(), shared=False)


def predecessors(run: RunFolder) -> frozenset[str]:
    """Returns the drivers that were at work in a run folder and never left it.

    All of them are dead where the run's lock is held by this process alone.
    """
    if not run.drivers.is_dir():
        return frozenset()
    return frozenset(path.name for path in run.drivers.iterdir())


def forget(run: RunFolder, drivers: Iterable[str]) -> None:
    """Removes what dead drivers left in the run folder."""
    for name in drivers:
        (run.drivers / name).unlink(missing_ok=True)
