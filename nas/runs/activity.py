"""Activity: what each driver of a run is doing right now, as a file that others may read.

Every driver keeps ``activity/DRIVER.json`` in its run folder up to date and removes it when it
leaves in order, so that what a driver was doing when it died can be read as well. The file is no
result: it is not flushed to disk, and a search goes on the same where it cannot be written.
"""

import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from nas.runs.folder import RunFolder
from search_spaces.graphs.schema import parse_json, read_as

LEAST_S = 1.0  # between two writes
MOST_S = 10.0  # without one: the file's age tells other machines whether its driver lives


@dataclass(frozen=True, slots=True)
class Task:
    """A candidate under way.

    Attributes:
        name: Its trials or baseline, for people.
        phase: "evaluating", or what of it: "waiting", "latency", "training".
        where: Process or node; "" where it is not known.
        since: When the phase began, ISO 8601 in UTC.
    """

    hash: str
    name: str
    phase: str
    where: str
    since: str


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device that candidates are measured on.

    Attributes:
        state: "idle", "measuring", "dead", ...
        queue: Measurements that wait for it.
        measured: Measurements made.
        failures: Those of them that failed.
    """

    name: str
    where: str
    state: str
    queue: int
    measured: int
    failures: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What one driver is doing.

    Attributes:
        driver: Its name: host, process and something random (`nas.study.drivers`).
        place: Where it evaluates, for people: "this process", "2 processes", "Ray cluster ...".
        slots: How many candidates it may have under way.
        written: When this was so, ISO 8601 in UTC.
    """

    driver: str
    place: str
    slots: int
    tasks: tuple[Task, ...]
    devices: tuple[DeviceState, ...]
    written: str


@runtime_checkable
class Watched(Protocol):
    """Workers that know more of what they do than that they were given something."""

    def watch(self, activity: "ActivityLog", /) -> None:
        """Has them tell phases, devices and the place from now on."""
        ...


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class ActivityLog:
    """Keeps one driver's activity on file; any thread may tell it what is going on.

    Use it as a context manager: a thread of its own writes while the block runs. Leaving the block
    in order removes the file; leaving it by an error writes what was going on.

    Args:
        driver: Its name; None makes one.
        least_s: Shortest time between two writes.
    """

    def __init__(
        self, run: RunFolder, place: str, driver: str | None = None, least_s: float = LEAST_S
    ) -> None:
        self._now = Activity(driver or new_driver(), place, 0, (), (), now())
        self.file = run.activity / f"{self._now.driver}.json"
        self._tasks: dict[str, Task] = {}
        self._least_s = least_s
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write_on, daemon=True, name="activity")

    def __enter__(self) -> "ActivityLog":
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()
        if kind is not None:
            self._write()
            return
        try:
            self.file.unlink(missing_ok=True)
        except OSError:
            return  # it is shown as that of a dead driver

    def began(self, key: str, name: str, phase: str = "evaluating", where: str = "") -> None:
        """Notes that a candidate is under way; one that was given to a worker anew begins anew."""
        with self._lock:
            self._tasks[key] = Task(key, name, phase, where, now())
        self._news.set()

    def phase(self, key: str, phase: str, where: str = "") -> None:
        """Notes what is being done about a candidate; one that is not under way is ignored."""
        with self._lock:
            task = self._tasks.get(key)
            if task is None or (task.phase, task.where) == (phase, where):
                return
            self._tasks[key] = replace(task, phase=phase, where=where, since=now())
        self._news.set()

    def ended(self, key: str) -> None:
        with self._lock:
            self._tasks.pop(key, None)
        self._news.set()

    def set_devices(self, devices: Iterable[DeviceState]) -> None:
        self._set(devices=tuple(devices))

    def set_slots(self, slots: int) -> None:
        self._set(slots=slots)

    def set_place(self, place: str) -> None:
        self._set(place=place)

    def _set(self, **changes: Any) -> None:  # noqa: ANN401
        with self._lock:
            changed = replace(self._now, **changes)
            if changed == self._now:
                return
            self._now = changed
        self._news.set()

    def snapshot(self) -> Activity:
        """Returns what is going on now."""
        with self._lock:
            return replace(self._now, tasks=tuple(self._tasks.values()), written=now())

    def _write_on(self) -> None:
        while not self._over.is_set():
            self._news.wait(MOST_S)
            self._news.clear()
            if not self._over.is_set():
                self._write()
            self._over.wait(self._least_s)

    def _write(self) -> None:
        part = self.file.with_name(f".{self.file.name}.part")
        try:
            part.parent.mkdir(exist_ok=True)
            part.write_text(json.dumps(asdict(self.snapshot()), indent=1) + "\n", "utf-8")
            part.replace(self.file)
        except OSError:  # a full disk is the search's to notice
            try:
                part.unlink(missing_ok=True)
            except OSError:
                return


def read_activities(run: RunFolder) -> tuple[Activity, ...]:
    """Returns what the drivers of a run are doing, or were when they died, by their names.

    A file that is damaged or of another version says nothing.
    """
    found = []
    for path in sorted(run.activity.glob("[!.]*.json")):
        try:
            found.append(activity_from_json(parse_json(path.read_text("utf-8"))))
        except (OSError, ValueError):
            continue
    return tuple(found)


def activity_from_json(data: object) -> Activity:
    """Returns the activity that ``data`` holds.

    Raises:
        UserError: If a field is missing or of another kind.
        ValueError: If a time is none.
    """
    activity: Activity = read_as(Activity, data)
    for time in (activity.written, *(task.since for task in activity.tasks)):
        if datetime.fromisoformat(time).tzinfo is None:
            raise ValueError(f"a time must have its zone, got {time}")
    return activity


def forget_activities(run: RunFolder) -> None:
    """Removes what dead drivers left; nobody else is at work in the folder."""
    for path in run.activity.glob("*.json*"):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue


def new_driver() -> str:
    """Returns a name that no other driver has: host, process, and something random."""
    host = re.sub(r"[^\w.-]", "-", socket.gethostname()) or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def host_of(driver: str) -> str:
    """Returns the machine in a driver's name.

    >>> host_of("node-3-1234-0a1b2c3d")
    'node-3'
    """
    return driver.rsplit("-", 2)[0]
