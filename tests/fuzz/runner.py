"""Runner: tries mutations of one kind, each by its seed, and says which went wrong.

Right is a result, or a `UserError` of one line. Wrong is any other error, several lines, letters
that a terminal obeys, or no end.
"""

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from search_spaces.graphs.errors import UserError

LIMIT_S = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input.

    Attributes:
        attempt: Mutates what is right with a generator, and has it read as commands do.
        lines: Of one refusal: a run file has one for every mistake.
    """

    name: str
    attempt: Callable[[Random], object]
    lines: int = 1


class NoEndError(BaseException):
    """An attempt took longer than it may."""


def verdict(kind: Kind, seed: int) -> str | None:
    """Returns what went wrong with one mutation; None where nothing did."""
    try:
        with ending():
            kind.attempt(Random(f"{kind.name} {seed}"))
    except UserError as error:
        said = str(error)
        if not said or len(said.splitlines()) > kind.lines or len(said) > 2000 * kind.lines:
            return (
                f"a refusal of {len(said)} letters, {len(said.splitlines())} lines: {said[:300]}"
            )
        if not said.replace("\n", "").isprintable():
            return f"a refusal that a terminal obeys: {said[:300]!r}"
    except NoEndError:
        return f"no end after {LIMIT_S} s\n{traceback.format_exc(limit=-4)}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}\n{traceback.format_exc(limit=-4)}"
    return None


@contextmanager
def ending() -> Iterator[None]:
    """Ends what takes too long, in the main thread."""

    def stop(*_: object) -> None:
        raise NoEndError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
