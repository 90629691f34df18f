"""Drivers: the processes that search in one study, and how they know of each other.

Where a study is shared, each driver beats a counter in it, and the others watch that counter, each
on its own monotonic clock: no two clocks are ever compared, and none that can be set. A driver
whose counter stands still is dead, and its trials are taken over; what it does when it comes back
after all is told by nobody else, so nothing is told twice. Whoever looks once does not learn
whether a driver lives; whoever looks on sees its beat move, or stand.

Each driver also leaves a file of its name in the run folder, so that a search that is resumed
knows which trials its dead predecessor was at.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.runs.activity import new_driver
from nas.runs.folder import RunFolder
from nas.study.names import BEAT, DRIVER, LEFT


@dataclass(frozen=True, slots=True)
class Timing:
    """How drivers wait for each other and for their storage, in seconds.

    Attributes:
        beat_s: Between two beats.
        dead_after_s: A driver that was not seen to beat for so long is dead.
        poll_s: Between two looks at what others do.
        storage_limit_s: How long a lost database server is waited for.
    """

    beat_s: float = 5.0
    dead_after_s: float = 30.0
    poll_s: float = 2.0
    storage_limit_s: float = 60.0


class Watch:
    """Tells which of several signs have stood still for too long.

    Time counts only between looks that are close together: while this process slept, or the
    storage was away, nobody else could be seen to move.

    Args:
        step_s: The longest time that counts between two looks.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self, dead_after_s: float, step_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self.dead_after_s = dead_after_s
        self.step_s = step_s
        self._clock = clock
        self._last = clock()
        self._seen: dict[str, object] = {}
        self._stood_s: dict[str, float] = {}

    def look(self, signs: Mapping[str, object]) -> frozenset[str]:
        """Takes note of how the signs stand now; returns those that have stood still too long."""
        now = self._clock()
        passed_s = min(now - self._last, self.step_s)
        self._last = now
        moved = {
            name
            for name, sign in signs.items()
            if name not in self._seen or self._seen[name] != sign
        }
        self._stood_s = {
            name: 0.0 if name in moved else self._stood_s[name] + passed_s for name in signs
        }
        self._seen = dict(signs)
        return frozenset(n for n, stood in self._stood_s.items() if stood >= self.dead_after_s)


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
        step_s = 2 * self.timing.beat_s
        self.watch = Watch(self.timing.dead_after_s, step_s, self.clock)
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
        if not self.shared:
            mine = BEAT + self.me
            beats = [key for key in self.study.user_attrs if key.startswith(BEAT) and key != mine]
            if any(self.study.user_attrs[key] != LEFT for key in beats):
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
        beats = self.study.user_attrs
        owners = {trial.number: owner(trial) for trial in running}
        signs: dict[str, Any] = {name: beats.get(BEAT + name) for name in owners.values()}
        gone = self.watch.look(signs) | {name for name, sign in signs.items() if sign == LEFT}
        return [
            trial
            for trial in running
            if (
                trial.number not in at_work
                if owners[trial.number] == self.me
                else owners[trial.number] in gone
            )
        ]


def alone(study: optuna.Study, run: RunFolder) -> Drivers:
    """Returns the view of a driver that nobody else can meet."""
    return Drivers(study, run, new_driver(), shared=False)


def owner(trial: FrozenTrial) -> str:
    """Returns the driver that works on a trial; a trial without one stands for itself."""
    return str(trial.user_attrs.get(DRIVER, f"nobody, at trial {trial.number}"))


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


USUAL = Timing()


@dataclass(frozen=True, slots=True)
class Distant:
    """A driver that has another run folder and did not leave.

    Attributes:
        was_heard: Whether its beat was seen to move.
        silent_s: For how long it was then seen to stand still.
    """

    driver: str
    was_heard: bool
    silent_s: float

    @property
    def is_alive(self) -> bool | None:
        """Whether it lives; None where too little was seen to tell."""
        if self.silent_s >= USUAL.dead_after_s:
            return False
        return True if self.was_heard else None


class Listener:
    """Remembers from look to look how beats stood.

    Args:
        clock: Monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._looked = clock()
        self._seen: dict[str, tuple[object, Distant]] = {}

    def listen(self, beats: Mapping[str, object]) -> tuple[Distant, ...]:
        """Takes note of how beats stand now; returns what is known of their drivers, by name."""
        now = self._clock()
        # Of a longer time nothing is known: this process slept, or the storage was away.
        passed_s = min(now - self._looked, 2 * USUAL.beat_s)
        self._looked = now
        seen: dict[str, tuple[object, Distant]] = {}
        for name, beat in sorted(beats.items()):
            if name not in self._seen:
                seen[name] = (beat, Distant(name, was_heard=False, silent_s=0.0))
                continue
            before, known = self._seen[name]
            moved = beat != before
            silent_s = 0.0 if moved else known.silent_s + passed_s
            seen[name] = (beat, Distant(name, known.was_heard or moved, silent_s))
        self._seen = seen
        return tuple(distant for _, distant in seen.values())
