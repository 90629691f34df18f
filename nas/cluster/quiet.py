"""Quiet: what Ray has to say goes to the search's log; the terminal is the progress bar's.

Ray prints what a dying raylet or worker leaves behind, hundreds of lines of it, to the terminal of
every driver, and no option of its own keeps it from that. What it means for a candidate, the
search says itself.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("nas.search")


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps Ray from the terminal until the block ends."""
    from ray._private import worker

    loud = worker.print_worker_logs
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    levels = [each.level for each in loggers]
    worker.print_worker_logs = note
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        worker.print_worker_logs = loud
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def note(data: Mapping[str, Any], *_: object, **__: object) -> None:
    """Logs the first line of what Ray would print."""
    lines = [line for text in data.get("lines", ()) for line in str(text).splitlines() if line]
    if lines:
        log.info("Ray's %s: %s", data.get("pid", "log"), lines[0][:300])
