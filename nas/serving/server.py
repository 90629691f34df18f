"""Server: the service on a socket, until it is told to stop."""

import gc
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from nas.serving.connections import timely_protocol
from nas.serving.limits import Limits
from nas.serving.sockets import stopping


def serve(
    app: FastAPI, listening: socket.socket, limits: Limits, announce: Callable[[], None]
) -> None:
    """Answers until Ctrl-C or SIGTERM; requests in flight are answered first.

    Args:
        announce: Says that the service is there; a signal from then on ends it in order.
    """
    config = uvicorn.Config(
        app,
        http=timely_protocol(limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        ws="none",
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    # Predictions make thousands of small records and no cycles: searching for cycles after every
    # few hundred would take a third of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    with stopping(stop):
        announce()
        server.run(sockets=[listening])
