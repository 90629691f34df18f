"""Liveness: which drivers of a study are alive, as far as can be told from here.

Drivers of this run folder keep a file there each (`nas.runs.activity`): a process of this machine
is looked at, of another machine's the age of its file counts. Drivers with other run folders are
known by their beats in the study alone, and whoever looks at a beat once does not learn whether
its driver lives; whoever looks on sees it move, or stand, on its own monotonic clock: no two
clocks are ever compared, and none that can be set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import psutil
from optuna.trial import FrozenTrial

from nas.runs.activity import Activity, host_of, new_driver, read_activities
from nas.runs.folder import RunFolder
from nas.runs.lock import is_locked
from nas.study.names import BEAT, DRIVER, LEFT

SILENT_S = 60.0  # a driver elsewhere that has written nothing for so long counts as dead
SLACK_S = 5.0  # by which the start of a process may be off


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


USUAL = Timing()


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of the beat of one driver.

    Attributes:
        was_heard: Whether its beat was seen to move.
        silent_s: For how long it was then seen to stand still.
    """

    driver: str
    was_heard: bool = False
    silent_s: float = 0.0

    @property
    def is_alive(self) -> bool | None:
        """Whether it lives; None where too little was seen to tell."""
        if self.silent_s >= USUAL.dead_after_s:
            return False
        return True if self.was_heard else None


class Watch:
    """Remembers from look to look how beats stood.

    Time counts only between looks that are close together: while this process slept, or the
    storage was away, nobody else could be seen to move.

    Args:
        timing: Two beats are the longest time that counts between two looks.
        clock: Monotonic, in seconds.
    """

    def __init__(self, timing: Timing = USUAL, clock: Callable[[], float] = monotonic) -> None:
        self._step_s = 2 * timing.beat_s
        self._clock = clock
        self._looked = clock()
        self._seen: dict[str, tuple[object, Sighting]] = {}

    def look(self, beats: Mapping[str, object]) -> tuple[Sighting, ...]:
        """Takes note of how beats stand now; returns what is known of their drivers, by name."""
        now = self._clock()
        passed_s = min(now - self._looked, self._step_s)
        self._looked = now
        before, self._seen = self._seen, {}
        for name, beat in sorted(beats.items()):
            last_beat, last = before.get(name, (beat, None))
            if last is None:
                sighting = Sighting(name)
            elif beat != last_beat:
                sighting = Sighting(name, was_heard=True)
            else:
                sighting = replace(last, silent_s=last.silent_s + passed_s)
            self._seen[name] = beat, sighting
        return tuple(sighting for _, sighting in self._seen.values())


def beats_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how the beats stand of those drivers that have not left a study.

    Args:
        attributes: The study's user attributes.
    """
    beats = {key.removeprefix(BEAT): v for key, v in attributes.items() if key.startswith(BEAT)}
    return {driver: beat for driver, beat in beats.items() if beat != LEFT}


def owner(trial: FrozenTrial) -> str:
    """Returns the driver that works on a trial; a trial without one stands for itself."""
    return str(trial.user_attrs.get(DRIVER, f"nobody, at trial {trial.number}"))


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver of the run folder: alive, or dead without having left."""

    alive: bool
    activity: Activity


@dataclass(frozen=True, slots=True)
class Liveness:
    """Who is at work in a study.

    Attributes:
        here: Drivers of the run folder.
        elsewhere: Drivers that have other run folders and did not leave.
        is_locked: Whether some process searches in the run folder.
    """

    here: tuple[Driver, ...]
    elsewhere: tuple[Sighting, ...]
    is_locked: bool

    @property
    def lives(self) -> dict[str, bool | None]:
        """Whether each driver is alive; None where that is not known."""
        here: dict[str, bool | None] = {d.activity.driver: d.alive for d in self.here}
        return here | {sighting.driver: sighting.is_alive for sighting in self.elsewhere}

    @property
    def is_at_work(self) -> bool:
        """Whether the run folder is searched in."""
        return self.is_locked or any(driver.alive for driver in self.here)

    def tends(self, trial: FrozenTrial) -> bool | None:
        """Whether somebody works on a running trial; None where that is not known."""
        lives = self.lives
        # A trial that was just asked has no driver yet, nor has one of an older search.
        if self.is_at_work and (not lives or DRIVER not in trial.user_attrs):
            return True
        return lives.get(owner(trial), False)

    def is_elsewhere(self, trial: FrozenTrial) -> bool:
        """Whether a trial is the affair of drivers with other run folders."""
        return any(sighting.driver == owner(trial) for sighting in self.elsewhere)


def liveness(run: RunFolder, attributes: Mapping[str, Any], watch: Watch) -> Liveness:
    """Returns who is at work in a run and its study.

    Args:
        attributes: The study's user attributes, the beats of its drivers among them.
        watch: What has seen these beats before.
    """
    here = tuple(Driver(is_alive(activity), activity) for activity in read_activities(run))
    names = {driver.activity.driver for driver in here}
    beats = {name: beat for name, beat in beats_of(attributes).items() if name not in names}
    return Liveness(here, watch.look(beats), is_locked(run))


def is_here(activity: Activity) -> bool:
    """Whether a driver is on this machine, where its process can be seen."""
    return host_of(activity.driver) == host_of(new_driver())


def is_alive(activity: Activity) -> bool:
    """Whether a driver still works, as far as can be told from this machine."""
    written = datetime.fromisoformat(activity.written)
    if not is_here(activity):
        return (datetime.now(UTC) - written).total_seconds() < SILENT_S
    try:
        process = psutil.Process(int(activity.driver.rsplit("-", 2)[1]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # One that began after the file was written only has the dead one's number.
        return bool(process.create_time() <= written.timestamp() + SLACK_S)
    except (psutil.Error, ValueError, IndexError):
        return False
