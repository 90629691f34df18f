"""Interrupts: the first ``Ctrl-C`` finishes what is running, a second one stops at once."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("nas.search")


@contextmanager
def stopping_gently(stop: threading.Event) -> Iterator[None]:
    """Lets the first interrupt set ``stop``, and a second one raise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        log.info("interrupted: finishing what is running")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
