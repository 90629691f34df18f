"""Pace: how fast a search finishes trials, counted over the time in which it worked.

Time in which nothing was under way (between a kill and its resume, for one) does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna.trial import FrozenTrial

RECENT = 20  # trials


@dataclass(frozen=True, slots=True)
class Pace:
    """Finished trials per minute; None before two are finished.

    Attributes:
        recent: Over the last trials; what is under way now counts as time spent.
        overall: Over all of them.
    """

    recent: float | None
    overall: float | None

    def seconds_for(self, trials: int) -> float | None:
        """Returns how long so many more trials take at the recent pace; None if unknown."""
        return None if not self.recent else 60.0 * trials / self.recent


def pace_of(
    finished: Sequence[FrozenTrial], running: Sequence[FrozenTrial], now: datetime
) -> Pace:
    """Returns the pace of a search.

    Args:
        finished: Trials that count, each architecture once.
        running: Trials that a living driver has under way.
        now: In local time, as Optuna notes it.
    """
    spans = sorted(span for trial in finished if (span := span_of(trial, now)) is not None)
    if len(spans) < 2:
        return Pace(None, None)
    busy = spans + [span for trial in running if (span := span_of(trial, now)) is not None]
    ends = sorted(end for _, end in spans)
    recent = min(RECENT, len(ends) - 1)
    return Pace(
        per_minute(recent, seconds_covered(busy, ends[-1 - recent])),
        per_minute(len(ends), seconds_covered(busy, min(start for start, _ in busy))),
    )


def span_of(trial: FrozenTrial, now: datetime) -> tuple[datetime, datetime] | None:
    if trial.datetime_start is None:
        return None
    end = trial.datetime_complete or now
    return (trial.datetime_start, end) if trial.datetime_start <= end else None


def seconds_covered(spans: Sequence[tuple[datetime, datetime]], since: datetime) -> float:
    """Returns for how long after ``since`` at least one span lasted.

    >>> at = lambda minute: datetime(2025, 1, 1, 0, minute)
    >>> seconds_covered([(at(0), at(2)), (at(1), at(3)), (at(10), at(11))], at(1))
    180.0
    """
    seconds, reached = 0.0, since
    for start, end in sorted(spans):
        if end > reached:
            seconds += (end - max(start, reached)).total_seconds()
            reached = end
    return seconds


def per_minute(trials: int, seconds: float) -> float | None:
    return 60.0 * trials / seconds if seconds > 0 else None
