"""Waiting for what other processes do, on a machine that may be busy."""

from collections.abc import Callable
from time import monotonic, sleep

PATIENCE_S = 600.0  # what takes a second where nothing else runs; it only bounds a failure


def wait_until(condition: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    deadline = monotonic() + limit_s
    while not condition():
        assert monotonic() < deadline, f"waited {limit_s:g} s in vain"
        sleep(0.02)
