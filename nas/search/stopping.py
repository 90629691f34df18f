"""Stopping: what a first Ctrl-C, a second one and a time-out make of a search.

The first one, and a time-out, begin nothing new and let what is running end; a second one raises.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from nas.problem.formatting import duration, seconds_of
from nas.search.under_way import UnderWay

MOST_NAMES = 4  # of what is under way, in one line
log = logging.getLogger("nas.search")


@contextmanager
def stopping_gently(
    stop: threading.Event,
    say: Callable[[str], None] = log.info,
    doing: Callable[[], str] = lambda: "what is running",
    timeout: str | float | None = None,
    hurry: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Lets the first interrupt or a time-out set ``stop``, and an interrupt after it raise.

    Args:
        say: Told at once what happens now, in a line.
        doing: Returns what is finished first, in words.
        timeout: A duration after which to stop; None waits for ever.
        hurry: Lets what is running wait for nothing but itself.
    """

    def announce(line: str) -> None:
        log.info("%s", line)
        say(line)
        hurry()

    def end(why: str) -> None:
        if not stop.is_set():
            stop.set()
            line = f"{why}: finishing {doing()}; Ctrl-C {AGAIN}"
            # In a thread of its own: who was interrupted may hold the screen or the log.
            threading.Thread(target=announce, args=(line,), daemon=True).start()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        end("interrupted")

    timer = None
    if timeout is not None:
        timer = threading.Timer(seconds_of(timeout), end, (f"the time-out of {timeout} is over",))
        timer.daemon = True
        timer.start()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, handle) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)
        if timer is not None:
            timer.cancel()


AGAIN = "again ends it at once, and loses only what is under way"


def in_words(under_way: UnderWay) -> str:
    """Returns what is under way, and about how long it takes."""
    names, ages = under_way.names_and_seconds()
    if not names:
        return "what it is at"
    said = ", ".join(names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        said += f" and {len(names) - MOST_NAMES} more"
    left = seconds_left(ages, under_way.seconds)
    return said if left is None else f"{said}, about {duration(left)}"


def seconds_left(ages: Sequence[float], took: Sequence[float]) -> float | None:
    """Returns how long the youngest of the candidates under way may take; None if unknown.

    >>> seconds_left([3.0, 1.0], [9.0, 10.0, 11.0])
    9.0

    Args:
        ages: Seconds for which each is under way.
        took: Seconds that others took.
    """
    if not took:
        return None
    return max(0.0, median(took) - min(ages))
