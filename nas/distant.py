"""Distant drivers: those of a study that have other run folders, as far as one knows from here.

Only their beats are seen: counters without a time, so that no two clocks are compared. Whoever
looks once does not learn whether a driver lives; whoever looks on sees its beat move, or stand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from nas.drivers import Timing

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
