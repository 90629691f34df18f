"""Computation: work in a thread that can be told to end, not only to be waited for no longer."""

import ctypes
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Generic, TypeVar

R = TypeVar("R")


class OutOfTimeError(Exception):
    """Nobody waits for this answer any more."""


class Computation(Generic[R]):
    """One piece of work; `stop` ends it, in whatever thread it runs, by an `OutOfTimeError`.

    Python delivers it between two steps of the interpreter, so it ends any loop of Python, and a
    call into C when that is over.
    """

    def __init__(self, work: Callable[[], R], after: Callable[[], None] = lambda: None) -> None:
        """Prepares ``work``; ``after`` follows it in its thread, where nothing interrupts it."""
        self._work, self._after = work, after
        self._lock = Lock()
        self._thread: int | None = None
        self._is_stopped = False

    def __call__(self) -> R:
        try:
            return self._run()
        finally:
            self._after()

    def _run(self) -> R:
        try:
            with self._lock:
                if self._is_stopped:
                    raise OutOfTimeError
                self._thread = get_ident()
            return self._work()
        finally:
            with self._lock:
                self._thread = None
            raise_in(get_ident(), None)  # one that came at the last moment is not for others

    def stop(self) -> None:
        """Ends the work; does nothing once it is over."""
        with self._lock:
            self._is_stopped = True
            if self._thread is not None:
                raise_in(self._thread, OutOfTimeError)


def raise_in(thread: int, error: type[BaseException] | None) -> None:
    given = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), given)
