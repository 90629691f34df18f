"""Work log: when each worker process was at work, on file, so that all executors are timed alike.

The first work of a process waits until every worker has got so far, so that nothing is timed
while processes start and import. All workers are on one machine, whose clock they share.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

READY_LIMIT_S = 180.0  # for all workers to have begun
LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class Spell:
    """One piece of work; ``start`` and ``end`` in seconds of the machine's monotonic clock."""

    process: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class WorkLog:
    """A folder in which worker processes note their work.

    Attributes:
        workers: How many processes there will be.
    """

    folder: Path
    workers: int

    @contextmanager
    def working(self) -> Iterator[None]:
        """Notes what the block takes; waits before it until all workers are ready.

        Raises:
            TimeoutError: If they are not in time.
        """
        self.wait_for_all()
        start = monotonic()
        yield
        line = f"{os.getpid()} {start!r} {monotonic()!r}\n"
        with (self.folder / "spells").open("a") as file:  # short enough to be written whole
            file.write(line)

    def wait_for_all(self) -> None:
        ready = self.folder / "ready"
        mine = ready / str(os.getpid())
        if mine.exists():
            return
        ready.mkdir(parents=True, exist_ok=True)
        mine.touch()
        deadline = monotonic() + READY_LIMIT_S
        while (there := len(list(ready.iterdir()))) < self.workers:
            if monotonic() > deadline:
                raise TimeoutError(f"{there} of {self.workers} workers began in {READY_LIMIT_S} s")
            sleep(LOOK_EVERY_S)

    def spells(self) -> tuple[Spell, ...]:
        """Returns all work so far, in the order in which it ended."""
        lines = (self.folder / "spells").read_text().splitlines()
        found = [Spell(int(p), float(s), float(e)) for p, s, e in map(str.split, lines)]
        return tuple(sorted(found, key=lambda spell: spell.end))


def overhead_s(spells: Sequence[Spell], workers: int, skipped: int, work_s: float) -> float:
    """Returns seconds a piece beyond its work, where ``workers`` share the pieces.

    Args:
        spells: In the order of their ends; the time runs from the end of the last one that is
            skipped to the end of the last one of all.
        skipped: At least 1.
        work_s: What a piece takes by itself.

    >>> spells = [Spell(1, 0.0, 1.0), Spell(1, 1.5, 2.5), Spell(1, 3.0, 4.0)]
    >>> overhead_s(spells, workers=1, skipped=1, work_s=1.0)
    0.5
    """
    wall_s = spells[-1].end - spells[skipped - 1].end
    return wall_s * workers / (len(spells) - skipped) - work_s


def gaps_s(spells: Sequence[Spell]) -> Array:
    """Returns for how long processes had nothing to do between two pieces.

    >>> spells = [Spell(1, 0.0, 1.0), Spell(2, 0.0, 1.5), Spell(1, 1.25, 2.0)]
    >>> gaps_s(spells).tolist()
    [0.25]
    """
    last: dict[int, float] = {}
    found = []
    for spell in sorted(spells, key=lambda spell: spell.start):
        if spell.process in last:
            found.append(spell.start - last[spell.process])
        last[spell.process] = spell.end
    return np.array(found)
